//! Everything that crosses a process or the network; one binary, because it links once.

mod cli;
