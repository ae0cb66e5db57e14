# Lays out Debian's files as Guix System lays out its own: everything in /gnu/store, one
# system in /var/guix/profiles, and a root file system that is nearly empty before the first
# boot. Run by the recipe in guix.rs, in the new tree's root; $FROM holds the unpacked
# packages. Written after Guix's manual and the behaviour of gnu/build/install.scm,
# gnu/build/activation.scm and gnu/services/base.scm; nothing is copied from there.

# A store item's path, with a hash in the alphabet that Guix uses (no e, o, t, u).
item() { printf '/gnu/store/%s-%s' "$(printf %s "$1" | sha256sum | cut -c1-32 | tr e x)" "$1"; }

lib=$FROM/usr/lib/x86_64-linux-gnu
glibc=$(item glibc-2.41)
libs=$(item runtime-libraries-13)
bash=$(item bash-5.2.37)
coreutils=$(item coreutils-9.7)
utils=$(item util-linux-2.41)
shadow=$(item shadow-4.17.4)
pam=$(item linux-pam-1.7.0)
mingetty=$(item mingetty-1.08)
procps=$(item procps-4.0.4)
text=$(item grep-and-sed-4.11)
guile=$(item guile-3.0.10)
fibers=$(item guile-fibers-1.3.1)
shepherd=$(item shepherd-1.0.3)
profile=$(item profile)
etc=$(item etc)
system=$(item system)

into() { # into ITEM/DIR FILE...
    mkdir -p ".$1"
    dir=.$1
    shift
    cp -a "$@" "$dir/"
}

# --- packages -----------------------------------------------------------------------------
mkdir -p gnu/store
for name in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libmvec.so.1 libpthread.so.0 libdl.so.2 \
    librt.so.1 libutil.so.1 libresolv.so.2 libanl.so.1 libnss_files.so.2 libnss_dns.so.2 \
    libnss_compat.so.2 libBrokenLocale.so.1 gconv; do
    into "$glibc/lib" "$lib/$name"
done
for file in "$lib"/*.so.* "$lib"/libdb-5.3.so; do
    name=${file##*/}
    test -e ".$glibc/lib/$name" || into "$libs/lib" "$file"
done
into "$bash/bin" "$FROM/usr/bin/bash"
ln -s bash ".$bash/bin/sh"
into "$mingetty/sbin" "$FROM/usr/sbin/mingetty"
into "$pam/lib" "$lib/security"
into "$pam/sbin" "$FROM/usr/sbin/unix_chkpwd"
chmod 755 ".$pam/sbin/unix_chkpwd"
# PAM asks this setuid program for the hash, even as root. Guix compiles in the place where
# activation puts the copy with the bit; a path of the same length does it here.
helper=/run/privileged/chkpw
sed -i "s|/usr/sbin/unix_chkpwd|$helper|g" ".$pam/lib/security/pam_unix.so"
grep -qF "$helper" ".$pam/lib/security/pam_unix.so"

bin() { # bin ITEM NAME...: programs, from wherever Debian keeps them, without setuid bits
    target=$1/bin
    shift
    for name in "$@"; do
        for dir in bin sbin; do
            test ! -e "$FROM/usr/$dir/$name" || into "$target" "$FROM/usr/$dir/$name"
        done
        test -e ".$target/$name"
        test -L ".$target/$name" || chmod 755 ".$target/$name"
    done
}
bin "$coreutils" [ basename cat chgrp chmod chown chroot cp cut date dd df dirname du echo env \
    expr false head hostid id install link ln logname ls mkdir mkfifo mknod mktemp mv nice \
    nohup nproc od paste printenv printf pwd readlink realpath rm rmdir seq sha256sum sleep sort \
    split stat stdbuf stty sync tail tee test timeout touch tr true truncate tty uname uniq \
    unlink users wc who whoami yes
bin "$utils" agetty dmesg findmnt flock lsblk mount mountpoint nsenter setpriv setsid setterm su \
    swapoff swapon umount unshare
bin "$shadow" login passwd newgrp useradd usermod groupadd chpasswd nologin
bin "$procps" free kill pgrep pkill ps sysctl uptime
bin "$text" grep sed find xargs

# --- guile and shepherd -------------------------------------------------------------------
into "$guile/bin" "$lib/guile/3.0/bin/guile"
mv ".$guile/bin/guile" ".$guile/bin/.guile-real"
into "$guile/share/guile" "$FROM/usr/share/guile/3.0"
into "$guile/lib/guile/3.0" "$lib/guile/3.0/ccache"
site=share/guile/site/3.0
ccache=lib/guile/3.0/site-ccache
into "$fibers/$site" "$FROM/usr/$site"/fibers*
into "$fibers/$ccache" "$lib/guile/3.0/site-ccache"/fibers*
into "$fibers/lib/guile/3.0/extensions" "$lib/guile/3.0/extensions"/fibers*
into "$shepherd/$site" "$FROM/usr/$site"/shepherd*
into "$shepherd/$ccache" "$lib/guile/3.0/site-ccache"/shepherd*
into "$shepherd/lib/shepherd" "$lib/shepherd/crash-handler.so"
into "$shepherd/bin" "$FROM/usr/bin/shepherd" "$FROM/usr/bin/herd"
into "$shepherd/sbin" "$FROM"/usr/libexec/shepherd/sbin/*
for script in ".$shepherd"/bin/* ".$shepherd"/sbin/*; do
    sed -i -e "1s|.*|#!$guile/bin/guile --no-auto-compile|" \
        -e '/^(set! %load/,/)$/d' "$script"
done
# Guile and libc were compiled with Debian's directories; these variables replace each of
# them. Guile cannot print a line without the converter for ISO 8859-1.
cat > ".$guile/bin/guile" <<WRAPPER
#!$bash/bin/bash
export GUILE_SYSTEM_PATH=$guile/share/guile/3.0
export GUILE_SYSTEM_COMPILED_PATH=$guile/lib/guile/3.0/ccache
export GUILE_LOAD_PATH=$shepherd/$site:$fibers/$site
export GUILE_LOAD_COMPILED_PATH=$shepherd/$ccache:$fibers/$ccache
export GUILE_EXTENSIONS_PATH=$fibers/lib/guile/3.0/extensions
export GCONV_PATH=$glibc/lib/gconv
exec -a "\$0" $guile/bin/.guile-real "\$@"
WRAPPER
chmod 755 ".$guile/bin/guile"

# --- programs find their libraries in the store -------------------------------------------
# patchelf is Debian's too, run by its own loader, so that the host needs none.
patchelf() { "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$FROM/usr/bin/patchelf" "$@"; }
is_elf() { test -f "$1" && test ! -L "$1" && test "$(head -c 4 "$1" | od -An -tx1)" = ' 7f 45 4c 46'; }
find ./gnu/store -type f \( -path '*/bin/*' -o -path '*/sbin/*' -o -name '*.so' -o -name '*.so.*' \) |
while read -r file; do
    case $file in ."$glibc"/*) continue;; esac
    is_elf "$file" || continue
    chmod u+w "$file"
    case $file in
    */bin/*|*/sbin/*) patchelf --set-interpreter "$glibc/lib/ld-linux-x86-64.so.2" "$file";;
    esac
    patchelf --set-rpath "$glibc/lib:$libs/lib" "$file"
done

# Compiled modules name Debian's directories; the sources are what counts for these two.
for module in fibers/config shepherd/config; do
    rm -f ".$fibers/$ccache/$module.go" ".$shepherd/$ccache/$module.go"
done
sed -i "s|/usr/lib/x86_64-linux-gnu/guile/3.0/extensions|$fibers/lib/guile/3.0/extensions|" \
    ".$fibers/$site/fibers/config.scm"
sed -i -e "s|\"/usr/lib/x86_64-linux-gnu/shepherd\"|\"$shepherd/lib/shepherd\"|" \
    -e 's|(define %runstatedir .*|(define %runstatedir "/var/run")|' \
    -e "s|\"/usr\"|\"$shepherd\"|" ".$shepherd/$site/shepherd/config.scm"

# --- the system profile: links to all programs --------------------------------------------
mkdir -p ".$profile/bin" ".$profile/sbin" ".$profile/etc"
for package in "$bash" "$coreutils" "$utils" "$shadow" "$procps" "$text" "$guile" "$shepherd" "$mingetty"; do
    for dir in bin sbin; do
        for program in ".$package/$dir"/*; do
            test ! -e "$program" || ln -s "${program#.}" ".$profile/$dir/${program##*/}"
        done
    done
done
printf 'export PATH="/run/privileged/bin:/run/current-system/profile/bin:/run/current-system/profile/sbin"\n' \
    > ".$profile/etc/profile"

# --- the static part of /etc --------------------------------------------------------------
mkdir -p ".$etc/pam.d" ".$etc/skel"
echo "$NAME" > ".$etc/hostname"
printf '127.0.0.1 localhost %s\n::1 localhost %s\n' "$NAME" "$NAME" > ".$etc/hosts"
printf '\nThis is the GNU system.  Welcome.\n' > ".$etc/issue"
printf '%s\n' "$bash/bin/bash" "$bash/bin/sh" /bin/sh > ".$etc/shells"
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n' > ".$etc/nsswitch.conf"
printf 'ENCRYPT_METHOD SHA512\nUID_MIN 1000\nENV_SUPATH PATH=/run/privileged/bin:/run/current-system/profile/bin:/run/current-system/profile/sbin\nENV_PATH PATH=/run/privileged/bin:/run/current-system/profile/bin:/run/current-system/profile/sbin\n' \
    > ".$etc/login.defs"
cat > ".$etc/profile" <<'PROFILE'
# Read by login shells. Fails, as on a real Guix System, when activation has not run.
source /run/current-system/profile/etc/profile
if [ -n "$PS1" ]; then PS1='\u@\h \w\$ '; fi
PROFILE
: > ".$etc/environment"
for service in login su passwd other; do
    {
        echo "account required $pam/lib/security/pam_unix.so"
        test "$service" != su || echo "auth sufficient $pam/lib/security/pam_rootok.so"
        echo "auth required $pam/lib/security/pam_unix.so nullok"
        echo "password required $pam/lib/security/pam_unix.so sha512 shadow"
        test "$service" != login || echo "session required $pam/lib/security/pam_loginuid.so"
        echo "session required $pam/lib/security/pam_env.so"
        echo "session required $pam/lib/security/pam_unix.so"
    } > ".$etc/pam.d/$service"
done

# --- what runs at boot --------------------------------------------------------------------
activate=$(item activate)
boot=$(item boot)
conf=$(item shepherd.conf)

cat > ".$activate" <<SCHEME
;; Makes the system current: accounts, /etc, special files, privileged programs.
(use-modules (ice-9 ftw) (ice-9 match) (ice-9 rdelim) (srfi srfi-1))

(define (make-directories name)
  (let loop ((done "") (rest (string-tokenize name (char-set-complement (char-set #\\/)))))
    (match rest
      (() #t)
      ((head . tail)
       (let ((name (string-append done "/" head)))
         (catch 'system-error (lambda () (mkdir name))
           (lambda args (unless (= EEXIST (system-error-errno args)) (apply throw args))))
         (loop name tail))))))

(define (forget name) (false-if-exception (delete-file name)))

(define (link-atomically target name)
  (let ((pivot (string-append name ".new")))
    (forget pivot)
    (symlink target pivot)
    (rename-file pivot name)))

(define (lines-of name)
  (if (file-exists? name)
      (call-with-input-file name
        (lambda (port)
          (let loop ((lines '()))
            (match (read-line port)
              ((? eof-object?) (reverse lines))
              (line (loop (cons line lines)))))))
      '()))

;; An entry that is there already stays, so a changed password survives the next boot.
(define (write-database name mode wanted)
  (let* ((old (lines-of name))
         (key (lambda (line) (first (string-split line #\\:))))
         (known (map key old))
         (added (remove (lambda (line) (member (key line) known)) wanted)))
    (call-with-output-file name
      (lambda (port)
        (for-each (lambda (line) (display line port) (newline port)) (append old added))))
    (chmod name mode)))

(define %root-password "*")
(define %shell "$bash/bin/bash")
(define %nologin "$shadow/bin/nologin")

(make-directories "/var/lib")
(make-directories "/root")
(chmod "/root" #o700)
(make-directories "/etc")
(write-database "/etc/group" #o644
  '("root:x:0:" "tty:x:996:" "users:x:998:" "wheel:x:999:" "utmp:x:989:" "nogroup:x:65534:"))
(write-database "/etc/passwd" #o644
  (list (string-append "root:x:0:0:System administrator:/root:" %shell)
        (string-append "nobody:x:65534:65534:Unprivileged user:/nonexistent:" %nologin)))
(write-database "/etc/shadow" #o600
  (list (string-append "root:" %root-password ":19000::::::") "nobody:!:19000::::::"))

(format #t "populating /etc from ~a...~%" "$etc")
(link-atomically "/run/current-system/profile/etc/ssl" "/etc/ssl")
(link-atomically "$etc" "/etc/static")
(for-each (lambda (name)
            (let ((target (string-append "/etc/" name))
                  (source (string-append "/etc/static/" name)))
              (forget target)
              (if (eq? 'directory (stat:type (stat source)))
                  (link-atomically source target)
                  (copy-file source target))))
          (scandir "$etc" (lambda (name) (not (member name '("." ".."))))))

(format #t "setting up privileged programs in '~a'...~%" "/run/privileged/bin")
(make-directories "/run/privileged/bin")
(make-directories "/run/setuid-programs")
(for-each (lambda (program)
            (let ((copy (string-append "/run/privileged/bin/" (basename program))))
              (forget copy)
              (copy-file program copy)
              (chmod copy #o4555)
              (link-atomically copy (string-append "/run/setuid-programs/" (basename program)))))
          '("$shadow/bin/passwd" "$shadow/bin/newgrp" "$utils/bin/su" "$utils/bin/mount"
            "$utils/bin/umount" "$pam/sbin/unix_chkpwd"))
(link-atomically "bin/unix_chkpwd" "$helper")

(make-directories "/bin")
(make-directories "/usr/bin")
(link-atomically "$bash/bin/sh" "/bin/sh")
(link-atomically "$coreutils/bin/env" "/usr/bin/env")

(make-directories "/var/log")
(make-directories "/var/run")
(for-each (lambda (name) (close-port (open-file name "a0")))
          '("/var/run/utmpx" "/var/log/wtmp"))

(define (boot-time-system)
  (let ((option "gnu.system="))
    (any (lambda (word)
           (and (string-prefix? option word) (substring word (string-length option))))
         (string-tokenize (call-with-input-file "/proc/cmdline" read-line)))))

(let ((system (or (getenv "GUIX_NEW_SYSTEM") (boot-time-system))))
  (format #t "making '~a' the current system...~%" system)
  (link-atomically system "/run/current-system"))
SCHEME

cat > ".$boot" <<SCHEME
;; What the initial RAM disk runs: clean up, activate, become the Shepherd.
(use-modules (ice-9 ftw))

(define (empty-directory name)
  (when (file-exists? name)
    (for-each (lambda (entry)
                (let ((path (string-append name "/" entry)))
                  (if (eq? 'directory (stat:type (lstat path)))
                      (begin (empty-directory path) (false-if-exception (rmdir path)))
                      (false-if-exception (delete-file path)))))
              (scandir name (lambda (entry) (not (member entry '("." ".."))))))))

(define (directory name mode)
  (unless (file-exists? name) (mkdir name))
  (chmod name mode))

(false-if-exception (delete-file "/etc/group.lock"))
(false-if-exception (delete-file "/etc/passwd.lock"))
(empty-directory "/tmp")
(empty-directory "/var/run")
(directory "/tmp" #o1777)
(directory "/var/run" #o755)
(directory "/run" #o755)

(primitive-load "$activate")

(false-if-exception (delete-file "/run/booted-system"))
(symlink (readlink "/run/current-system") "/run/booted-system")

;; Guile has descriptors of its own open: this must be the last thing before exec.
(let loop ((fd 3))
  (when (< fd 1024)
    (false-if-exception (close-fdes fd))
    (loop (+ 1 fd))))
(execl "$shepherd/bin/shepherd" "shepherd" "--config" "$conf")
SCHEME

cat > ".$conf" <<SCHEME
;; The services of %base-services that lead to a login, with their real requirements.
(use-modules (shepherd service) (ice-9 rdelim) (srfi srfi-1) (srfi srfi-26))

(define (milestone name . requirements)
  (service (list name) #:requirement requirements #:start (const #t) #:stop (const #f)))

(define (on-tty name tty command)
  (service (list name)
    #:documentation "Run a getty."
    #:requirement '(user-processes host-name udev virtual-terminal)
    #:start (make-forkexec-constructor command)
    #:stop (make-kill-destructor)
    #:respawn? #t))

(define (mingetty tty)
  (on-tty (string->symbol (string-append "term-" tty)) tty
    (list "$mingetty/sbin/mingetty" "--nohangup" "--noclear" "--loginprog" "$shadow/bin/login" tty)))

;; The serial line that the kernel was told to use as a console, if any: "ttyS0".
(define (serial-console)
  (any (lambda (word)
         (and (string-prefix? "console=tty" word)
              (char-alphabetic? (string-ref (string-append word "0") 11))
              (first (string-split (substring word 8) #\\,))))
       (string-tokenize (call-with-input-file "/proc/cmdline" read-line))))

(define (agetty . arguments)
  (let ((tty (serial-console)))
    (and tty
         (apply (make-forkexec-constructor
                 (list "$utils/bin/agetty" "-L" "--login-program" "$shadow/bin/login"
                       "115200" tty "vt100"))
                arguments))))

(define %services
  (append
   (list
    (service '(root-file-system)
      #:start (const #t)
      #:stop (lambda _ (sync) #f))
    (milestone 'file-systems 'root-file-system)
    (milestone 'user-file-systems 'file-systems)
    (service '(user-processes)
      #:requirement '(file-systems)
      #:start (const #t)
      #:stop (lambda _
               ;; From process 1 this reaches all but itself.
               (false-if-exception (kill -1 SIGTERM))
               (sleep 0.5)
               (false-if-exception (kill -1 SIGKILL))
               #f))
    (service '(host-name)
      #:requirement '(root-file-system)
      #:start (lambda _ (sethostname "$NAME") #t)
      #:respawn? #f)
    (milestone 'udev 'root-file-system)
    (service '(virtual-terminal)
      #:requirement '(root-file-system)
      #:start (lambda _
                @VIRTUAL-TERMINAL@
                #t)
      #:stop (const #f))
    (service '(loopback networking)
      #:requirement '(root-file-system)
      #:start (const #t))
    (service '(term-console)
      #:documentation "Run agetty on the serial console, if the kernel has one."
      #:requirement '(user-processes host-name udev)
      #:start agetty
      #:stop (make-kill-destructor)
      #:respawn? #t))
   (map mingetty '("tty1" "tty2" "tty3" "tty4" "tty5" "tty6"))))

(register-services %services)
(setenv "PATH" "/run/current-system/profile/bin")
(format #t "starting services...~%")
(start-in-the-background
 '(root-file-system file-systems user-file-systems user-processes host-name udev virtual-terminal
   loopback term-console term-tty1 term-tty2 term-tty3 term-tty4 term-tty5 term-tty6))
SCHEME

# A host without virtual terminals, or with /sys read-only, must not lose its login prompts
# in the tree that tests boot most; guix-hardware has the unconditional write of a real one.
sed -i 's|@VIRTUAL-TERMINAL@|(false-if-exception (call-with-output-file "/sys/module/vt/parameters/default_utf8" (lambda (port) (display 1 port))))|' ".$conf"

# --- the system ---------------------------------------------------------------------------
mkdir -p ".$system"
ln -s "$activate" ".$system/activate"
ln -s "$boot" ".$system/boot"
ln -s "$profile" ".$system/profile"
ln -s "$etc" ".$system/etc"
ln -s "$conf" ".$system/shepherd.conf"
linux=$(item linux-libre-6.12.11)
cat > ".$system/parameters" <<PARAMETERS
(boot-parameters
  (version 0)
  (label "GNU with Linux-Libre 6.12.11")
  (root-device (uuid dce #vu8(18 52 86 120 18 52 18 52 18 52 18 52 86 120 18 52)))
  (kernel "$linux/bzImage")
  (kernel-arguments ("quiet"))
  (initrd "$(item raw-initrd)/initrd.cpio.gz")
  (multiboot-modules ())
  (bootloader-name grub)
  (bootloader-menu-entries ())
  (locale "en_US.utf8")
  (store (device (uuid dce #vu8(18 52 86 120 18 52 18 52 18 52 18 52 86 120 18 52)))
    (mount-point "/") (directory-prefix #f) (crypto-devices ())))
PARAMETERS

# --- the root file system, as "guix system init" makes it ---------------------------------
mkdir -p etc var/log var/guix/gcroots var/empty var/db mnt var/guix/profiles/per-user/root \
    home tmp var/tmp var/lock dev proc sys run
chmod 1777 tmp var/tmp var/lock
chown 0:30000 gnu/store
ln -s system-1-link var/guix/profiles/system
ln -s "$system" var/guix/profiles/system-1-link
ln -s /run/booted-system var/guix/gcroots/booted-system
ln -s /run/current-system var/guix/gcroots/current-system
ln -s /var/guix/profiles var/guix/gcroots/profiles
# Store items are read-only and have no time of their own.
find gnu/store -type f -exec chmod a-w {} +
find gnu/store -mindepth 1 -exec touch -h -d @1 {} +
chmod 1775 gnu/store
for name in lib lib64 usr bin sbin etc/os-release etc/passwd; do test ! -e "$name"; done
