//! No code: only the dependencies of kling, to be built.

fn main() {}
