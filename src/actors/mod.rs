//! Actors: the shells that feed `domain` machines and run their effects, and the supervision they live under.

pub mod kernel;
