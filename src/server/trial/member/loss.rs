//! Loss: an operator gives an impaired member its vote, and the machine stops after every change that this makes.

use super::*;
use crate::runtime::member_log::mark_impaired;
use crate::server::recover::loss::Case;

#[test]
fn crash_points_of_a_loss_that_is_accepted() {
    let mut member = Member::new();
    member.promise(1, 1);
    member.append_all(&run(1, 1..=8), 3, Zxid::ZERO);
    let all = member.all.clone();
    let (root, holdings) = member.end();
    mark_impaired(&holdings.dir).unwrap();
    drop(holdings);
    let beside = scratch();
    let mut config = settings(&root.path().join(DATA));
    config.ensemble = super::super::world::second_of_three(beside.path()).ensemble;
    let case = Case::open(&config, 0, Clock::default()).unwrap();
    let (from, before) = (journal::len(), case.loss().clone());
    let after = case.accept(&config, Clock::default()).unwrap();
    let ops = journal::end();
    assert!(after == before && after.last() == z(1, 8) && after.promise() == Promise { accepted: 1001, current: 1 });
    let (old, new) = ((1, 1), (1001, 1));
    let (place, mut dice, mut found) = (scratch(), Dice::new(ops.len() as u64), BTreeSet::new());
    let mut disk = Disk::holding(root.path(), &Image::default());
    for (i, op) in ops.iter().enumerate() {
        disk.apply(op);
        if i < from {
            continue;
        }
        let open = disk.open();
        let mut subsets = vec![Vec::new(), open.clone()];
        subsets.extend((0..6).map(|_| open.iter().copied().filter(|_| dice.one_in(2)).collect::<Vec<_>>()));
        for present in subsets {
            disk.image(&present).write(place.path());
            let (_dir, recovered, joining) = start(&place.path().join(DATA)).unwrap_or_else(|line| panic!("{i}: {line}"));
            let seen = seen(&recovered, &joining);
            assert_eq!(seen.all, all, "nothing of what is there goes");
            assert!(seen.promise == new || seen.promise == old && seen.is_impaired, "after {}: {seen:?}", shown(op));
            if i + 1 == ops.len() {
                assert!(!seen.is_impaired, "what was told is durable");
            }
            found.insert((seen.promise, seen.is_impaired));
        }
    }
    assert!(found.contains(&(old, true)) && found.contains(&(new, true)) && found.contains(&(new, false)), "{found:?}");
}
