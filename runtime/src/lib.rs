//! What emitted code needs at run time: views over memory, fixed point, float functions.
#![no_std]
