import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.Revoker;
import org.apache.curator.framework.recipes.shared.SharedCount;

/** Curator's locks and semaphores. */
final class Locks extends Harness {
    private Locks() {}

    static void checks() {
        check("InterProcessMutex excludes", () -> excludes(client -> new InterProcessMutex(client, path("/lock"))));
        check("InterProcessSemaphoreMutex excludes", () -> excludes(client -> new InterProcessSemaphoreMutex(client, path("/lock"))));
        check("InterProcessMutex is entered again by its thread", Locks::reentrant);
        check("InterProcessMutex gives up in time and leaves nothing", Locks::givesUp);
        check("InterProcessMutex is revoked", Locks::revoked);
        check("InterProcessMutex passes on when its session is killed", Locks::killed);
        check("InterProcessReadWriteLock", Locks::readWrite);
        check("InterProcessReadWriteLock is fair to a writer", Locks::writerFirst);
        check("InterProcessSemaphoreV2", Locks::semaphore);
        check("InterProcessSemaphoreV2 takes no more than its leases", Locks::semaphoreUnderLoad);
        check("InterProcessSemaphoreV2 with a SharedCount", Locks::semaphoreCounted);
        check("InterProcessMultiLock has all or none", Locks::multiLock);
    }

    interface Maker {
        InterProcessLock make(CuratorFramework client);
    }

    private static void excludes(Maker maker) throws Exception {
        int[] unguarded = {0};
        AtomicInteger inside = new AtomicInteger();
        ExecutorService threads = threads();
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            InterProcessLock lock = maker.make(client());
            for (int j = 0; j < 2; j++) {
                all.add(threads.submit(() -> {
                    for (int k = 0; k < 10; k++) {
                        require(lock.acquire(2 * WAIT, SECONDS), "not acquired");
                        same(1, inside.incrementAndGet());
                        int before = unguarded[0];
                        Thread.yield();
                        unguarded[0] = before + 1;
                        inside.decrementAndGet();
                        lock.release();
                    }
                    return null;
                }));
            }
        }
        for (Future<?> one : all) {
            one.get();
        }
        same(60, unguarded[0]);
    }

    private static void reentrant() throws Exception {
        InterProcessMutex lock = new InterProcessMutex(client(), path("/lock"));
        InterProcessMutex other = new InterProcessMutex(client(), path("/lock"));
        lock.acquire();
        lock.acquire();
        lock.release();
        require(lock.isOwnedByCurrentThread(), "given up after one of two releases");
        require(!other.acquire(200, MILLISECONDS), "acquired by two");
        lock.release();
        require(other.acquire(WAIT, SECONDS), "not passed on");
        other.release();
        refused(IllegalMonitorStateException.class, other::release);
    }

    private static void givesUp() throws Exception {
        InterProcessMutex lock = new InterProcessMutex(client(), path("/lock"));
        InterProcessMutex other = new InterProcessMutex(client(), path("/lock"));
        lock.acquire();
        require(!other.acquire(300, MILLISECONDS), "acquired by two");
        eventually("the loser's znode is gone", () -> lock.getParticipantNodes().size() == 1);
        Collection<String> participants = lock.getParticipantNodes();
        require(shared.getData().forPath(participants.iterator().next()).length > 0, "the lock names nobody");
        lock.release();
        eventually("no znode is left", () -> shared.getChildren().forPath(path("/lock")).isEmpty());
    }

    private static void revoked() throws Exception {
        InterProcessMutex lock = new InterProcessMutex(client(), path("/lock"));
        BlockingQueue<String> asked = new LinkedBlockingQueue<>();
        lock.makeRevocable(for_ -> asked.add("revoke"));
        lock.acquire();
        CuratorFramework other = client();
        other.sync().forPath(path("/lock"));
        Revoker.attemptRevoke(other, lock.getParticipantNodes().iterator().next());
        same("revoke", next(asked));
        lock.release();
    }

    private static void killed() throws Exception {
        CuratorFramework doomed = client();
        InterProcessMutex lock = new InterProcessMutex(doomed, path("/lock"));
        lock.acquire();
        InterProcessMutex other = new InterProcessMutex(client(), path("/lock"));
        Future<Boolean> waiting = threads().submit(() -> other.acquire(WAIT, SECONDS));
        eventually("somebody waits", () -> other.getParticipantNodes().size() == 2);
        killSession(doomed);
        require(waiting.get(), "not passed on");
    }

    private static void readWrite() throws Exception {
        InterProcessReadWriteLock one = new InterProcessReadWriteLock(client(), path("/lock"));
        InterProcessReadWriteLock two = new InterProcessReadWriteLock(client(), path("/lock"));
        InterProcessReadWriteLock three = new InterProcessReadWriteLock(client(), path("/lock"));
        require(one.readLock().acquire(WAIT, SECONDS), "no first reader");
        require(two.readLock().acquire(WAIT, SECONDS), "no second reader");
        require(!three.writeLock().acquire(300, MILLISECONDS), "a writer beside readers");
        one.readLock().release();
        two.readLock().release();
        require(three.writeLock().acquire(WAIT, SECONDS), "no writer");
        require(!one.readLock().acquire(300, MILLISECONDS), "a reader beside a writer");
        require(three.readLock().acquire(WAIT, SECONDS), "who writes may read");
        three.writeLock().release();
        require(one.readLock().acquire(WAIT, SECONDS), "no reader beside one that was a writer");
        require(!three.writeLock().acquire(300, MILLISECONDS), "a reader became a writer");
        three.readLock().release();
        one.readLock().release();
    }

    private static void writerFirst() throws Exception {
        InterProcessReadWriteLock reader = new InterProcessReadWriteLock(client(), path("/lock"));
        InterProcessReadWriteLock writer = new InterProcessReadWriteLock(client(), path("/lock"));
        InterProcessReadWriteLock late = new InterProcessReadWriteLock(client(), path("/lock"));
        BlockingQueue<String> order = new LinkedBlockingQueue<>();
        ExecutorService threads = threads();
        reader.readLock().acquire();
        Future<?> writing = threads.submit(() -> {
            writer.writeLock().acquire();
            order.add("writer");
            writer.writeLock().release();
            return null;
        });
        eventually("the writer waits", () -> shared.getChildren().forPath(path("/lock")).size() == 2);
        Future<?> reading = threads.submit(() -> {
            late.readLock().acquire();
            order.add("late reader");
            late.readLock().release();
            return null;
        });
        eventually("the late reader waits", () -> shared.getChildren().forPath(path("/lock")).size() == 3);
        silent(order);
        reader.readLock().release();
        same(List.of("writer", "late reader"), next(order, 2));
        writing.get();
        reading.get();
    }

    private static void semaphore() throws Exception {
        InterProcessSemaphoreV2 one = new InterProcessSemaphoreV2(client(), path("/semaphore"), 3);
        InterProcessSemaphoreV2 two = new InterProcessSemaphoreV2(client(), path("/semaphore"), 3);
        one.setNodeData("one".getBytes());
        Collection<Lease> leases = one.acquire(2, WAIT, SECONDS);
        same(2, leases.size());
        same("one", leases.iterator().next().getData());
        Lease third = two.acquire(WAIT, SECONDS);
        require(third != null, "no third lease");
        require(two.acquire(300, MILLISECONDS) == null, "a fourth lease of three");
        require(one.acquire(2, 300, MILLISECONDS) == null, "five leases of three");
        eventually("three participants", () -> two.getParticipantNodes().size() == 3);
        one.returnAll(leases);
        Collection<Lease> both = two.acquire(2, WAIT, SECONDS);
        same(2, both.size());
        two.returnAll(both);
        two.returnLease(third);
        eventually("no participants", () -> one.getParticipantNodes().isEmpty());
    }

    private static void semaphoreUnderLoad() throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        ExecutorService threads = threads();
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < 6; i++) {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client(), path("/semaphore"), 2);
            all.add(threads.submit(() -> {
                for (int k = 0; k < 5; k++) {
                    Lease lease = semaphore.acquire(2 * WAIT, SECONDS);
                    require(lease != null, "no lease");
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    Thread.sleep(5);
                    inside.decrementAndGet();
                    semaphore.returnLease(lease);
                }
                return null;
            }));
        }
        for (Future<?> one : all) {
            one.get();
        }
        require(most.get() <= 2, most + " leases of two");
    }

    private static void semaphoreCounted() throws Exception {
        CuratorFramework client = client();
        SharedCount count = closing(new SharedCount(client, path("/count"), 1));
        count.start();
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, path("/semaphore"), count);
        require(semaphore.acquire(WAIT, SECONDS) != null, "no lease");
        require(semaphore.acquire(300, MILLISECONDS) == null, "two leases of one");
        count.setCount(2);
        eventually("the limit is raised", () -> count.getCount() == 2);
        require(semaphore.acquire(WAIT, SECONDS) != null, "no second lease");
    }

    private static void multiLock() throws Exception {
        CuratorFramework client = client();
        List<String> paths = List.of(path("/a"), path("/b"), path("/c"));
        InterProcessMutex held = new InterProcessMutex(client(), path("/c"));
        held.acquire();
        InterProcessMultiLock multi = new InterProcessMultiLock(client, paths);
        require(!multi.acquire(500, MILLISECONDS), "acquired what is held");
        require(!multi.isAcquiredInThisProcess(), "half acquired");
        for (String path : paths.subList(0, 2)) {
            InterProcessMutex free = new InterProcessMutex(client(), path);
            require(free.acquire(WAIT, SECONDS), path + " is still held");
            free.release();
        }
        held.release();
        require(multi.acquire(WAIT, SECONDS), "not acquired");
        require(!held.acquire(300, MILLISECONDS), "not held");
        multi.release();
        require(held.acquire(WAIT, SECONDS), "not released");
        held.release();
    }
}
