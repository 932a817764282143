import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.CachedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.PromotedToLock;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedIdQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;

/** Curator's elections, barriers, counters and queues. */
final class Shared extends Harness {
    private Shared() {}

    static void checks() {
        check("LeaderLatch", Shared::latch);
        check("LeaderLatch when its session is killed", Shared::latchKilled);
        check("LeaderSelector lets each lead in turn", Shared::selector);
        check("LeaderSelector again and again, and interrupted", Shared::selectorRequeued);
        check("DistributedBarrier", Shared::barrier);
        check("DistributedDoubleBarrier", Shared::doubleBarrier);
        check("SharedCount", Shared::count);
        check("SharedValue", Shared::value);
        check("DistributedAtomicLong", Shared::atomicLong);
        check("DistributedAtomicLong by many", Shared::atomicByMany);
        check("DistributedAtomicInteger and CachedAtomicLong", Shared::atomicOthers);
        check("SimpleDistributedQueue", Shared::simpleQueue);
        check("DistributedQueue", Shared::queue);
        check("DistributedQueue with locks gives back what failed", Shared::queueLocked);
        check("DistributedIdQueue", Shared::idQueue);
        check("DistributedPriorityQueue", Shared::priorityQueue);
        check("DistributedDelayQueue", Shared::delayQueue);
    }

    private static void latch() throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        for (int i = 0; i < 3; i++) {
            String id = "latch " + i;
            LeaderLatch latch = closing(new LeaderLatch(client(), path("/latch"), id, LeaderLatch.CloseMode.NOTIFY_LEADER));
            latch.addListener(new LeaderLatchListener() {
                @Override
                public void isLeader() {
                    told.add(id + " leads");
                }

                @Override
                public void notLeader() {
                    told.add(id + " does not");
                }
            });
            latch.start();
            latches.add(latch);
            eventually("it takes part", () -> latches.get(0).getParticipants().size() == latches.size());
        }
        same("latch 0 leads", next(told));
        same("latch 0", latches.get(2).getLeader().getId());
        same(1L, latches.stream().filter(LeaderLatch::hasLeadership).count());
        latches.get(1).close();
        latches.get(0).close();
        same(new TreeSet<>(List.of("latch 0 does not", "latch 2 leads")), new TreeSet<>(next(told, 2)));
        require(latches.get(2).await(WAIT, SECONDS), "the last one does not lead");
    }

    private static void latchKilled() throws Exception {
        CuratorFramework doomed = client();
        LeaderLatch one = closing(new LeaderLatch(doomed, path("/latch"), "one"));
        one.start();
        require(one.await(WAIT, SECONDS), "the first does not lead");
        LeaderLatch two = closing(new LeaderLatch(client(), path("/latch"), "two"));
        two.start();
        eventually("two take part", () -> two.getParticipants().size() == 2);
        killSession(doomed);
        require(two.await(WAIT, SECONDS), "the second does not lead");
        eventually("the first knows it", () -> !one.hasLeadership());
        eventually("and takes part again", () -> two.getParticipants().size() == 2);
    }

    private static void selector() throws Exception {
        AtomicInteger leading = new AtomicInteger();
        BlockingQueue<String> led = new LinkedBlockingQueue<>();
        for (int i = 0; i < 3; i++) {
            String id = "selector " + i;
            LeaderSelector selector = closing(new LeaderSelector(client(), path("/leader"), new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    led.add(leading.incrementAndGet() == 1 ? id : "two lead");
                    Thread.sleep(50);
                    leading.decrementAndGet();
                }
            }));
            selector.setId(id);
            selector.start();
        }
        same(new TreeSet<>(List.of("selector 0", "selector 1", "selector 2")), new TreeSet<>(next(led, 3)));
        silent(led);
    }

    private static void selectorRequeued() throws Exception {
        BlockingQueue<String> led = new LinkedBlockingQueue<>();
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            String id = "selector " + i;
            LeaderSelector selector = closing(new LeaderSelector(client(), path("/leader"), new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    led.add(id);
                    Thread.sleep(1000 * WAIT);
                }
            }));
            selector.setId(id);
            selector.autoRequeue();
            selector.start();
            selectors.add(selector);
            eventually("it takes part", () -> selector.getParticipants().size() == selectors.size());
        }
        List<String> order = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            String now = next(led);
            order.add(now);
            LeaderSelector leader = selectors.get(now.equals("selector 0") ? 0 : 1);
            eventually("all know it", () -> leader.getLeader().getId().equals(now) && leader.getLeader().isLeader());
            eventually("the other waits", () -> leader.getParticipants().size() == 2);
            leader.interruptLeadership();
        }
        same(List.of("selector 0", "selector 1", "selector 0", "selector 1"), order);
    }

    private static void barrier() throws Exception {
        DistributedBarrier setter = new DistributedBarrier(client(), path("/barrier"));
        setter.setBarrier();
        List<Future<Boolean>> waiting = new ArrayList<>();
        ExecutorService threads = threads();
        for (int i = 0; i < 3; i++) {
            CuratorFramework client = client();
            client.sync().forPath(path("/barrier"));
            waiting.add(threads.submit(() -> new DistributedBarrier(client, path("/barrier")).waitOnBarrier(WAIT, SECONDS)));
        }
        DistributedBarrier late = new DistributedBarrier(client(), path("/barrier"));
        require(!late.waitOnBarrier(300, MILLISECONDS), "a barrier that lets pass");
        require(waiting.stream().noneMatch(Future::isDone), "a barrier that lets pass");
        setter.removeBarrier();
        for (Future<Boolean> one : waiting) {
            require(one.get(), "kept behind no barrier");
        }
        require(late.waitOnBarrier(WAIT, SECONDS), "kept behind no barrier");
    }

    private static void doubleBarrier() throws Exception {
        int members = 4;
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger left = new AtomicInteger();
        ExecutorService threads = threads();
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < members; i++) {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client(), path("/barrier"), members);
            int wait = 50 * i;
            all.add(threads.submit(() -> {
                Thread.sleep(wait);
                inside.incrementAndGet();
                require(barrier.enter(WAIT, SECONDS), "not entered");
                same(members, inside.get());
                Thread.sleep(wait);
                left.incrementAndGet();
                require(barrier.leave(WAIT, SECONDS), "not left");
                same(members, left.get());
                return null;
            }));
        }
        for (Future<?> one : all) {
            one.get();
        }
        DistributedDoubleBarrier alone = new DistributedDoubleBarrier(client(), path("/barrier-of-two"), 2);
        require(!alone.enter(300, MILLISECONDS), "one is enough for two");
    }

    private static void count() throws Exception {
        SharedCount one = closing(new SharedCount(client(), path("/count"), 7));
        SharedCount two = closing(new SharedCount(client(), path("/count"), 8));
        BlockingQueue<Integer> seen = new LinkedBlockingQueue<>();
        two.addListener(new SharedCountListener() {
            @Override
            public void countHasChanged(SharedCountReader reader, int count) {
                seen.add(count);
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {}
        });
        one.start();
        two.start();
        same(7, one.getCount());
        eventually("the second sees the first's seed", () -> two.getCount() == 7);
        VersionedValue<Integer> old = two.getVersionedValue();
        for (int i = 10; i <= 12; i++) {
            one.setCount(i);
            int now = i;
            eventually("the second follows", () -> two.getCount() == now);
        }
        // Seen may be one more than what is counted here: a seed that another has written.
        eventually("the last is told", () -> seen.contains(12));
        require(!two.trySetCount(old, 99), "set by an old version");
        require(two.trySetCount(two.getVersionedValue(), 100), "not set by the version that is");
        eventually("the first follows", () -> one.getCount() == 100);
    }

    private static void value() throws Exception {
        SharedValue one = closing(new SharedValue(client(), path("/value"), "seed".getBytes()));
        SharedValue two = closing(new SharedValue(client(), path("/value"), "other".getBytes()));
        one.start();
        two.start();
        eventually("the first seed counts", () -> new String(two.getValue()).equals("seed"));
        VersionedValue<byte[]> old = one.getVersionedValue();
        two.setValue("new".getBytes());
        eventually("the change is seen", () -> new String(one.getValue()).equals("new"));
        require(!one.trySetValue(old, "late".getBytes()), "set by an old version");
        same("new", one.getValue());
    }

    private static void atomicLong() throws Exception {
        DistributedAtomicLong counter = new DistributedAtomicLong(client(), path("/long"), new RetryNTimes(10, 10));
        require(counter.initialize(5L), "not initialized");
        require(!counter.initialize(6L), "initialized twice");
        AtomicValue<Long> added = counter.add(10L);
        require(added.succeeded(), "not added");
        same(List.of(5L, 15L), List.of(added.preValue(), added.postValue()));
        same(14L, counter.decrement().postValue());
        same(4L, counter.subtract(10L).postValue());
        require(!counter.compareAndSet(5L, 50L).succeeded(), "set, though it was another");
        require(counter.compareAndSet(4L, -1L << 40).succeeded(), "not set");
        same(-1L << 40, counter.get().postValue());
        counter.forceSet(3L);
        same(3L, counter.get().preValue());
    }

    private static void atomicByMany() throws Exception {
        ExecutorService threads = threads();
        List<Future<Integer>> all = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            PromotedToLock lock = PromotedToLock.builder().lockPath(path("/lock")).timeout(WAIT, SECONDS).retryPolicy(new RetryNTimes(5, 5)).build();
            DistributedAtomicLong counter = new DistributedAtomicLong(client(), path("/long"), new RetryNTimes(5, 5), lock);
            all.add(threads.submit(() -> {
                // Who has been overtaken too often is told so, lock or not, and comes again.
                int done = 0;
                while (done < 25) {
                    done += counter.increment().succeeded() ? 1 : 0;
                }
                return done;
            }));
        }
        for (Future<Integer> one : all) {
            same(25, one.get());
        }
        eventually("all are counted", () -> new DistributedAtomicLong(shared, path("/long"), new RetryNTimes(5, 5)).get().postValue() == 100);
    }

    private static void atomicOthers() throws Exception {
        DistributedAtomicInteger counter = new DistributedAtomicInteger(client(), path("/int"), new RetryNTimes(10, 10));
        same(1, counter.increment().postValue());
        same(Integer.MAX_VALUE, counter.add(Integer.MAX_VALUE - 1).postValue());
        DistributedAtomicLong behind = new DistributedAtomicLong(client(), path("/long"), new RetryNTimes(10, 10));
        CachedAtomicLong cached = new CachedAtomicLong(behind, 10);
        for (long i = 1; i <= 11; i++) {
            same(i, cached.next().postValue());
        }
        same(20L, behind.get().postValue());
    }

    private static void simpleQueue() throws Exception {
        SimpleDistributedQueue in = new SimpleDistributedQueue(client(), path("/queue"));
        SimpleDistributedQueue out = new SimpleDistributedQueue(client(), path("/queue"));
        require(in.peek() == null, "something in an empty queue");
        Future<byte[]> taken = threads().submit(out::take);
        in.offer("first".getBytes());
        same("first", taken.get());
        for (int i = 0; i < 10; i++) {
            in.offer(("" + i).getBytes());
        }
        eventually("the last is there", () -> out.peek() != null && shared.getChildren().forPath(path("/queue")).size() == 10);
        for (int i = 0; i < 10; i++) {
            same("" + i, out.poll(WAIT, SECONDS));
        }
        require(out.poll(200, MILLISECONDS) == null, "more than was put in");
    }

    private static final QueueSerializer<String> TEXT = new QueueSerializer<>() {
        @Override
        public byte[] serialize(String item) {
            return item.getBytes();
        }

        @Override
        public String deserialize(byte[] bytes) {
            return new String(bytes);
        }
    };

    /** What comes out of a queue; what begins with '!' fails the first time. */
    private static final class Out implements QueueConsumer<String> {
        final BlockingQueue<String> all = new LinkedBlockingQueue<>();
        private boolean failed;

        @Override
        public void consumeMessage(String message) throws Exception {
            if (message.startsWith("!") && !failed) {
                failed = true;
                throw new IllegalStateException("on purpose");
            }
            all.add(message);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {}
    }

    private static void queue() throws Exception {
        DistributedQueue<String> in = closing(QueueBuilder.builder(client(), null, TEXT, path("/queue")).buildQueue());
        in.start();
        List<String> items = IntStream.range(0, 30).mapToObj(i -> "item " + i).toList();
        for (String item : items) {
            in.put(item);
            require(in.flushPuts(WAIT, SECONDS), "not put");
        }
        Out out = new Out();
        DistributedQueue<String> reader = closing(QueueBuilder.builder(client(), out, TEXT, path("/queue")).buildQueue());
        reader.start();
        same(items, next(out.all, 30));
        in.put("late");
        same("late", next(out.all));
        eventually("the queue is empty", () -> shared.getChildren().forPath(path("/queue")).isEmpty());
    }

    private static void queueLocked() throws Exception {
        Out out = new Out();
        DistributedQueue<String> queue =
            closing(QueueBuilder.builder(client(), out, TEXT, path("/queue")).lockPath(path("/locks")).buildQueue());
        queue.start();
        queue.put("good");
        queue.put("!bad at first");
        same(new TreeSet<>(List.of("good", "!bad at first")), new TreeSet<>(next(out.all, 2)));
        eventually("the queue is empty", () -> shared.getChildren().forPath(path("/queue")).isEmpty());
    }

    private static void idQueue() throws Exception {
        DistributedIdQueue<String> in = closing(QueueBuilder.builder(client(), null, TEXT, path("/queue")).buildIdQueue());
        in.start();
        in.put("kept", "id 1");
        in.put("removed", "id 2");
        require(in.flushPuts(WAIT, SECONDS), "not put");
        same(1, in.remove("id 2"));
        Out out = new Out();
        DistributedIdQueue<String> reader = closing(QueueBuilder.builder(client(), out, TEXT, path("/queue")).buildIdQueue());
        reader.start();
        same("kept", next(out.all));
        silent(out.all);
    }

    private static void priorityQueue() throws Exception {
        DistributedPriorityQueue<String> in = closing(QueueBuilder.builder(client(), null, TEXT, path("/queue")).buildPriorityQueue(0));
        in.start();
        int[] priorities = {5, -3, 0, 100, -100};
        for (int priority : priorities) {
            in.put("" + priority, priority);
        }
        require(in.flushPuts(WAIT, SECONDS), "not put");
        Out out = new Out();
        CuratorFramework client = client();
        client.sync().forPath(path("/queue"));
        DistributedPriorityQueue<String> reader = closing(QueueBuilder.builder(client, out, TEXT, path("/queue")).buildPriorityQueue(0));
        reader.start();
        same(List.of("-100", "-3", "0", "5", "100"), next(out.all, 5));
    }

    private static void delayQueue() throws Exception {
        Out out = new Out();
        DistributedDelayQueue<String> queue = closing(QueueBuilder.builder(client(), out, TEXT, path("/queue")).buildDelayQueue());
        queue.start();
        long now = System.currentTimeMillis();
        queue.put("later", now + 900);
        queue.put("sooner", now + 300);
        same(List.of("sooner", "later"), next(out.all, 2));
        require(System.currentTimeMillis() >= now + 900, "too early");
    }
}
