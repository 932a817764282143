//! Asked: a member's keeper, in its thread, beside what it does by itself.

use super::*;

#[test]
fn the_keeper_does_what_it_is_asked_at_once_and_vouches_for_no_more() {
    let mut member = Member::new();
    member.promise(1, 1);
    member.append_all(&run(1, 1..=8), 3, Zxid::ZERO);
    let blank = member.spare();
    let base = member.base;
    let (root, holdings) = member.end();
    journal::end();
    let Holdings { dir: log, images, policy, pool, cabinet, segments, verified, .. } = holdings;
    let config = KeeperConfig { dir: log, images, policy, scrub: None, is_flushed: true, pool };
    let image = verified.first().copied().unwrap_or_default();
    let (keeper, thread) = KeeperThread::start(config, cabinet, segments.clone(), image, BTreeSet::new()).unwrap();
    assert_eq!(keeper.segments(), segments);
    // The watermark follows the log while nothing is asked.
    keeper.durable(z(1, 8));
    std::thread::sleep(Duration::from_millis(200));
    let (sender, ended) = mpsc::channel();
    let ask = |task| {
        let sender = sender.clone();
        keeper.perform(task, move |what| sender.send(what).unwrap());
        ended.recv_timeout(Duration::from_secs(30)).unwrap()
    };
    assert_eq!(ask(Task::Promise(Promise { accepted: 4, current: 1 })), Ended::Plain);
    let Ended::Moved { position, blank } = ask(Task::Cut { to: z(1, 2), base, blank }) else { panic!("a log was cut") };
    assert_eq!((position.last, blank.len(), keeper.segments().len()), (z(1, 2), 0, 1));
    assert_eq!(keeper.segments()[0].number, position.segment.number);
    keeper.rolled(position.segment.number + 1, Begin { after: z(1, 2), sequence: position.sequence }, 9);
    assert_eq!(keeper.segments().len(), 2);
    std::thread::sleep(Duration::from_millis(200));
    thread.stop();
    let (_dir, recovered, joining) = start(&root.path().join(DATA)).unwrap();
    let found = seen(&recovered, &joining);
    assert_eq!((found.all, found.promise, recovered.cabinet.marked()), (run(1, 1..=2), (4, 1), z(1, 2)));
}
