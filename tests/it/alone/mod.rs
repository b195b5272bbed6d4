//! What needs the machine to itself to keep time: a browser, a hundred rooms, a whole build. `make test` runs
//! these one by one, after the others.

mod browser;
mod cluster;
mod demo;
mod hundred;
mod minimum;
mod mixers;
mod page;
mod speakers;
