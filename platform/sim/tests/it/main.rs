//! The simulator from outside: the first seeds hold, the same seed gives the same, and what is wrong on purpose is found.

mod caught;
mod seeds;
