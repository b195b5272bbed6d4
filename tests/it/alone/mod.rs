//! Tests that need the whole machine to keep time: a browser, a hundred rooms, a whole build. `make test`
//! runs them one by one, after the others.

mod browser;
mod cluster;
mod demo;
mod elements;
mod hundred;
mod looks;
mod many_listeners;
mod minimum;
mod mixers;
mod page;
mod players;
mod recording_hour;
mod recording_load;
mod replay_players;
mod spaces;
mod speakers;
mod stage;
mod stage_deaths;
mod tracks;
mod whip_software;
