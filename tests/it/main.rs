//! Everything that crosses a process or the network, in one binary.

mod listening;
mod support;
