//! Trial: small data directories made by the real engines, and what a start makes of them when they were hurt. Test code only.

mod dice;
mod life;
mod world;

#[test]
fn worlds_are_worth_it() {
    let began = std::time::Instant::now();
    for seed in 0..20 {
        let world = world::World::new(seed);
        let names: Vec<_> = world.files.keys().collect();
        println!(
            "{seed} ({} bytes a segment): {} states, acknowledged {}, {names:?}",
            world.segment_bytes,
            world.ghost.states.len(),
            world.ghost.acknowledged
        );
    }
    println!("{:?}", began.elapsed());
}
