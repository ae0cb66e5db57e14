//! One file per verb. Each takes its parsed arguments and returns the exit code.

pub(crate) mod attach;
pub(crate) mod boot;
pub(crate) mod command;
pub(crate) mod doctor;
pub(crate) mod doctor_host;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod fix;
pub(crate) mod generate;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod internal;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod reboot;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod trial;
