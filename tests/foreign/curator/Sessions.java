import static java.util.concurrent.TimeUnit.SECONDS;

import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.ZooKeeper.States;

/** Sessions that end, move, and outlive lost connections and servers. */
final class Sessions extends Harness {
    private Sessions() {}

    static void checks() {
        check("ephemerals go with their session", Sessions::closed);
        check("a killed session is lost, and another begins", Sessions::killed);
        check("a session that is silent expires", Sessions::expires);
        check("timeouts are what the server grants", Sessions::timeouts);
        check("a cut connection is made again, with its session", Sessions::cut);
        check("watches hear of what was missed", Sessions::missed);
        check("a session moves to another connection", Sessions::moves);
        check("a session id with a wrong password is refused", Sessions::wrongPassword);
        check("a cache after a cut has what it missed", Sessions::cacheAfterCut);
        if (System.getenv("RESTART") != null) {
            check("sessions, ephemerals and locks outlive a server that is killed", Sessions::restarted);
            check("a latch and a cache outlive a server that is killed", Sessions::recipesRestarted);
        }
    }

    private static void closed() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().withMode(CreateMode.EPHEMERAL).forPath(path("/a"));
        for (int i = 0; i < 10; i++) {
            client.create().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(path("/s-"));
        }
        client.create().withMode(CreateMode.PERSISTENT).forPath(path("/kept"));
        client.close();
        shared.sync().forPath(path(""));
        same(List.of("kept"), shared.getChildren().forPath(path("")));
    }

    private static void killed() throws Exception {
        CuratorFramework client = client();
        BlockingQueue<ConnectionState> states = states(client);
        client.create().creatingParentsIfNeeded().withMode(CreateMode.EPHEMERAL).forPath(path("/a"));
        long before = bare(client).getSessionId();
        killSession(client);
        await(states, ConnectionState.LOST);
        await(states, ConnectionState.RECONNECTED);
        eventually("another session", () -> bare(client).getSessionId() != before && bare(client).getState() == States.CONNECTED);
        client.sync().forPath(path("/a"));
        require(client.checkExists().forPath(path("/a")) == null, "still there");
    }

    private static void expires() throws Exception {
        Network network = new Network();
        BlockingQueue<Watcher.Event.KeeperState> told = new LinkedBlockingQueue<>();
        ZooKeeper zk = closing(new ZooKeeper(network.address(), 4000, event -> told.add(event.getState())));
        same(Watcher.Event.KeeperState.SyncConnected, next(told));
        shared.create().creatingParentsIfNeeded().forPath(path(""));
        zk.sync(path(""));
        zk.create(path("/a"), null, org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        int timeout = zk.getSessionTimeout();
        shared.sync().forPath(path(""));
        BlockingQueue<Long> gone = new LinkedBlockingQueue<>();
        require(shared.checkExists().usingWatcher((Watcher) event -> gone.add(System.nanoTime())).forPath(path("/a")) != null, "not there");
        long cut = System.nanoTime();
        network.cut();
        long after = (next(gone) - cut) / 1_000_000;
        // What was last heard was up to a third of the timeout before the cut; expiry comes in steps of a tick of 2 or 3 s.
        require(after >= timeout / 2 && after <= 2L * timeout + 4000, "expired " + after + " ms after the cut, timeout " + timeout);
        network.mend();
        same(List.of(Watcher.Event.KeeperState.Disconnected, Watcher.Event.KeeperState.Expired), next(told, 2));
    }

    private static void timeouts() throws Exception {
        for (int asked : List.of(1000, 8000, 10_000_000)) {
            BlockingQueue<Object> told = new LinkedBlockingQueue<>();
            ZooKeeper zk = closing(new ZooKeeper(servers, asked, event -> told.add(event)));
            next(told);
            int granted = zk.getSessionTimeout();
            require(asked == 8000 ? granted == 8000 : granted >= 4000 && granted <= 60_000, "asked " + asked + ", granted " + granted);
        }
    }

    private static void cut() throws Exception {
        Network network = new Network();
        CuratorFramework client = clientAt(network.address());
        BlockingQueue<ConnectionState> states = states(client);
        client.create().creatingParentsIfNeeded().withMode(CreateMode.EPHEMERAL).forPath(path("/a"));
        long session = bare(client).getSessionId();
        for (int i = 0; i < 3; i++) {
            network.cut();
            await(states, ConnectionState.SUSPENDED);
            network.mend();
            await(states, ConnectionState.RECONNECTED);
            same(session, bare(client).getSessionId());
            same(session, client.checkExists().forPath(path("/a")).getEphemeralOwner());
        }
        client.setData().forPath(path("/a"), "after".getBytes());
        same("after", client.getData().forPath(path("/a")));
    }

    private static void missed() throws Exception {
        Network network = new Network();
        CuratorFramework client = clientAt(network.address());
        shared.create().creatingParentsIfNeeded().forPath(path("/changed"));
        for (String name : List.of("/deleted", "/grown", "/same", "/lasting", "/lasting/below", "/shrunk", "/shrunk/child")) {
            shared.create().forPath(path(name));
        }
        client.sync().forPath(path(""));
        ZooKeeper zk = bare(client);
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        Watcher watcher = (WatchedEvent event) -> {
            if (event.getPath() != null) {
                told.add(event.getType() + " " + event.getPath().substring(path("").length()));
            }
        };
        zk.getData(path("/changed"), watcher, null);
        zk.getData(path("/deleted"), watcher, null);
        zk.exists(path("/created"), watcher);
        zk.exists(path("/never"), watcher);
        zk.getChildren(path("/grown"), watcher);
        zk.getChildren(path("/shrunk"), watcher);
        zk.getData(path("/same"), watcher, null);
        zk.getChildren(path("/same"), watcher);
        zk.addWatch(path("/lasting"), watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        BlockingQueue<ConnectionState> states = states(client);
        network.cut();
        await(states, ConnectionState.SUSPENDED);
        shared.setData().forPath(path("/changed"), "x".getBytes());
        shared.delete().forPath(path("/deleted"));
        shared.create().forPath(path("/created"));
        shared.create().forPath(path("/grown/child"));
        shared.delete().forPath(path("/shrunk/child"));
        shared.setData().forPath(path("/lasting/below"), "missed".getBytes());
        network.mend();
        await(states, ConnectionState.RECONNECTED);
        same(new TreeSet<>(List.of("NodeDataChanged /changed", "NodeDeleted /deleted", "NodeCreated /created", "NodeChildrenChanged /grown",
            "NodeChildrenChanged /shrunk")), new TreeSet<>(next(told, 5)));
        silent(told);
        shared.setData().forPath(path("/lasting/below"), "heard".getBytes());
        same("NodeDataChanged /lasting/below", next(told));
        shared.setData().forPath(path("/same"), "x".getBytes());
        same("NodeDataChanged /same", next(told));
        shared.create().forPath(path("/same/child"));
        same("NodeChildrenChanged /same", next(told));
        shared.create().forPath(path("/never"));
        same("NodeCreated /never", next(told));
        silent(told);
    }

    private static void moves() throws Exception {
        // Both at one server: another would not tell the first client until it asks for something.
        String one = servers.split(",")[0];
        CuratorFramework client = clientAt(one);
        client.create().creatingParentsIfNeeded().withMode(CreateMode.EPHEMERAL).forPath(path("/a"));
        BlockingQueue<ConnectionState> states = states(client);
        BlockingQueue<Object> told = new LinkedBlockingQueue<>();
        ZooKeeper twin = new ZooKeeper(one, SESSION, event -> told.add(event.getState()), bare(client).getSessionId(), bare(client).getSessionPasswd());
        same(Watcher.Event.KeeperState.SyncConnected, next(told));
        same(bare(client).getSessionId(), twin.getSessionId());
        twin.setData(path("/a"), "by the twin".getBytes(), -1);
        await(states, ConnectionState.SUSPENDED);
        // The first one takes it back; the twin is told by the end of its connection, and so they go on. Whichever has it in the end ends
        // it; if neither has, it expires.
        same(Watcher.Event.KeeperState.Disconnected, next(told));
        twin.close();
        client.close();
        shared.sync().forPath(path("/a"));
        eventually("the ephemeral is gone", () -> shared.checkExists().forPath(path("/a")) == null);
    }

    private static void wrongPassword() throws Exception {
        CuratorFramework client = client();
        BlockingQueue<Object> told = new LinkedBlockingQueue<>();
        ZooKeeper thief = closing(new ZooKeeper(servers, SESSION, event -> told.add(event.getState()), bare(client).getSessionId(), new byte[16]));
        same(Watcher.Event.KeeperState.Expired, next(told));
        same(States.CLOSED, thief.getState());
        client.create().creatingParentsIfNeeded().forPath(path("/still"));
    }

    private static void cacheAfterCut() throws Exception {
        Network network = new Network();
        CuratorFramework client = clientAt(network.address());
        shared.create().creatingParentsIfNeeded().forPath(path("/top/old"), "o".getBytes());
        client.sync().forPath(path("/top"));
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        CuratorCache cache = closing(CuratorCache.build(client, path("/top")));
        cache.listenable().addListener(CuratorCacheListener.builder().forInitialized(() -> told.add("initialized")).build());
        cache.start();
        next(told);
        BlockingQueue<ConnectionState> states = states(client);
        network.cut();
        await(states, ConnectionState.SUSPENDED);
        shared.create().forPath(path("/top/new"));
        shared.delete().forPath(path("/top/old"));
        network.mend();
        eventually("the cache has the new one", () -> cache.get(path("/top/new")).isPresent());
        eventually("and not the old one", () -> cache.get(path("/top/old")).isEmpty());
    }

    private static void restart() throws Exception {
        Process process = new ProcessBuilder("bash", "-c", System.getenv("RESTART")).redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        require(process.waitFor(60, SECONDS) && process.exitValue() == 0, "the server was not restarted");
    }

    private static void restarted() throws Exception {
        CuratorFramework client = client();
        BlockingQueue<ConnectionState> states = states(client);
        long session = bare(client).getSessionId();
        client.create().creatingParentsIfNeeded().withMode(CreateMode.EPHEMERAL).forPath(path("/a"), "a".getBytes());
        InterProcessMutex lock = new InterProcessMutex(client, path("/lock"));
        lock.acquire();
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        bare(client).getData(path("/a"), event -> told.add(event.getType().toString()), null);
        restart();
        if (servers.split(",").length == 1) {
            await(states, ConnectionState.RECONNECTED);
        }
        same("a", client.getData().forPath(path("/a")));
        same(session, client.checkExists().forPath(path("/a")).getEphemeralOwner());
        same(session, bare(client).getSessionId());
        InterProcessMutex other = new InterProcessMutex(client(), path("/lock"));
        require(!other.acquire(1, SECONDS), "a lock that is held by two");
        lock.release();
        require(other.acquire(WAIT, SECONDS), "not passed on");
        other.release();
        told.removeIf(one -> one.equals("None"));
        client.setData().forPath(path("/a"), "b".getBytes());
        String event;
        do {
            event = next(told);
        } while (event.equals("None"));
        same("NodeDataChanged", event);
    }

    private static void recipesRestarted() throws Exception {
        CuratorFramework one = client();
        CuratorFramework two = client();
        LeaderLatch first = closing(new LeaderLatch(one, path("/latch"), "first"));
        first.start();
        require(first.await(WAIT, SECONDS), "nobody leads");
        LeaderLatch second = closing(new LeaderLatch(two, path("/latch"), "second"));
        second.start();
        one.create().creatingParentsIfNeeded().forPath(path("/top"));
        two.sync().forPath(path("/top"));
        CuratorCache cache = closing(CuratorCache.build(two, path("/top")));
        cache.start();
        restart();
        one.create().forPath(path("/top/after"), "after".getBytes());
        eventually("the cache goes on", () -> cache.get(path("/top/after")).isPresent());
        eventually("one of the two leads", () -> first.hasLeadership() != second.hasLeadership());
        first.close();
        require(second.await(WAIT, SECONDS), "nobody leads");
    }
}
