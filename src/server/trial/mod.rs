//! Trial: small data directories made by the real engines, and what a start makes of them when they were hurt. Test code only.

mod crash;
mod dice;
mod disk;
#[allow(dead_code)]
mod life;
pub(crate) mod scripts;
#[allow(dead_code)]
mod world;

#[test]
fn worlds_are_worth_it() {
    for seed in 0..20 {
        world::World::new(seed);
    }
}
