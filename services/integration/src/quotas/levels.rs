//! Setting limits, at three levels.
