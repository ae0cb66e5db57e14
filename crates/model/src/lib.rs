//! The documents that travel between repot's crates, as plain data.
//!
//! `facts` (what a tree is) become `needs` (what its init and login stack want); together with an engine's
//! `offers` they become a `spec` (everything needed to start). No I/O, no policy: every type here can be
//! printed, compared and read back. The flow is drawn in ARCHITECTURE.md.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod arch;
mod emulation;
mod engine;
mod facts;
mod finding;
mod hint;
mod limits;
mod name;
mod needs;
mod policy;
mod seccomp;
mod signal;
mod spec;
mod state;

pub use arch::{Arch, Libc};
pub use emulation::{Emulators, Handler};
pub use engine::{
    CommandLine, Delivery, Demand, Demanded, EngineId, HandOver, HostFile, ImageFormat, Keyrings,
    LeaderProbe, OfferedTerminal, Offers, ProgramOffer, Resolver, StopOffer, Sys, shell_word,
};
pub use facts::{
    Account, Distribution, ElfFacts, Evidence, Facts, Getty, GettyKind, InitFacts, LoginFacts,
    LoginStack, PamFacts, PasswordState,
};
pub use finding::{Certainty, Change, Edit, Finding, Remedy, RuleId, Severity};
pub use hint::{HintExt, Hinted};
pub use limits::{Bytes, Cpus, Limits};
pub use name::{InitId, MachineName, NameError};
pub use needs::{CgroupVersion, Needs, ReadySign, StopAction, StopProtocol};
pub use policy::{Device, Policy};
pub use seccomp::{
    Seccomp, SeccompAction, SeccompArchitectures, SeccompArg, SeccompCondition, SeccompOperator,
    SeccompProfile, SeccompRule,
};
pub use signal::{Signal, SignalError};
pub use spec::{
    BindMount, BootSpec, CgroupPlan, Decision, IdMap, Network, Overlay, Pid1, RootPlan,
    SPEC_VERSION, Terminal, TerminalRole, TmpfsMount,
};
pub use state::{
    MachineRecord, MachineState, ProcessId, RECORD_VERSION, Ready, RuntimeState, STATE_VERSION,
    StateHeader, Status,
};
