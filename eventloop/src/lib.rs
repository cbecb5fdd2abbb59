//! Run to completion: poll, timers, idle policy, cycle accounting.
