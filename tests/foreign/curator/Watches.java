import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.CuratorWatcher;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;

/** Watches that fire once, that last, that hear of a subtree; watches removed. */
final class Watches extends Harness {
    private Watches() {}

    static void checks() {
        check("watches fire once, each for its kind", Watches::once);
        check("a child watch and a deleted parent", Watches::parentDeleted);
        check("a persistent watch", () -> lasting(AddWatchMode.PERSISTENT));
        check("a persistent recursive watch", () -> lasting(AddWatchMode.PERSISTENT_RECURSIVE));
        check("a persistent watch beside one that fires once", Watches::beside);
        check("watches of a transaction come in its order", Watches::transaction);
        check("removed watches are silent", Watches::removed);
        check("one kind of watch is removed", Watches::removedByKind);
        check("events come before what follows them is read", Watches::order);
        check("PersistentWatcher", Watches::persistentWatcher);
    }

    /** What watchers are told, as 'kind path below ours'. */
    private static final class Seen implements CuratorWatcher, Watcher {
        final BlockingQueue<String> all = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() != Event.EventType.None) {
                all.add(event.getType() + " " + event.getPath().substring(path("").length()));
            }
        }
    }

    private static CuratorFramework clientAndRoom() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path(""));
        return client;
    }

    private static void once() throws Exception {
        CuratorFramework client = clientAndRoom();
        Seen exists = new Seen();
        Seen data = new Seen();
        Seen children = new Seen();
        client.checkExists().usingWatcher((CuratorWatcher) exists).forPath(path("/a"));
        refused(Code.NONODE, () -> client.getData().usingWatcher((CuratorWatcher) data).forPath(path("/a")));
        client.create().forPath(path("/a"));
        same("NodeCreated /a", next(exists.all));
        client.getData().usingWatcher((CuratorWatcher) data).forPath(path("/a"));
        client.getChildren().usingWatcher((CuratorWatcher) children).forPath(path("/a"));
        client.create().forPath(path("/a/b"));
        same("NodeChildrenChanged /a", next(children.all));
        client.setData().forPath(path("/a"), "1".getBytes());
        same("NodeDataChanged /a", next(data.all));
        client.setData().forPath(path("/a"), "2".getBytes());
        client.create().forPath(path("/a/c"));
        client.getData().usingWatcher((CuratorWatcher) data).forPath(path("/a/b"));
        client.setACL().withACL(org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE).forPath(path("/a/b"));
        client.delete().forPath(path("/a/b"));
        same("NodeDeleted /a/b", next(data.all));
        silent(exists.all);
        silent(data.all);
        silent(children.all);
    }

    private static void parentDeleted() throws Exception {
        CuratorFramework client = clientAndRoom();
        client.create().forPath(path("/a"));
        Seen children = new Seen();
        Seen outer = new Seen();
        client.getChildren().usingWatcher((CuratorWatcher) children).forPath(path("/a"));
        client.getChildren().usingWatcher((CuratorWatcher) outer).forPath(path(""));
        client.delete().forPath(path("/a"));
        same("NodeDeleted /a", next(children.all));
        same("NodeChildrenChanged ", next(outer.all));
    }

    private static void lasting(AddWatchMode mode) throws Exception {
        CuratorFramework client = clientAndRoom();
        CuratorFramework writer = client();
        Seen seen = new Seen();
        client.watchers().add().withMode(mode).usingWatcher((CuratorWatcher) seen).forPath(path("/a"));
        writer.create().forPath(path("/a"));
        writer.setData().forPath(path("/a"), "1".getBytes());
        writer.setData().forPath(path("/a"), "2".getBytes());
        writer.create().forPath(path("/a/b"));
        writer.setData().forPath(path("/a/b"), "1".getBytes());
        writer.create().forPath(path("/a/b/c"));
        writer.create().forPath(path("/aside"));
        writer.delete().deletingChildrenIfNeeded().forPath(path("/a"));
        writer.create().forPath(path("/a"));
        List<String> expected = mode == AddWatchMode.PERSISTENT
            ? List.of("NodeCreated /a", "NodeDataChanged /a", "NodeDataChanged /a", "NodeChildrenChanged /a", "NodeChildrenChanged /a",
                "NodeDeleted /a", "NodeCreated /a")
            : List.of("NodeCreated /a", "NodeDataChanged /a", "NodeDataChanged /a", "NodeCreated /a/b", "NodeDataChanged /a/b",
                "NodeCreated /a/b/c", "NodeDeleted /a/b/c", "NodeDeleted /a/b", "NodeDeleted /a", "NodeCreated /a");
        same(expected, next(seen.all, expected.size()));
        silent(seen.all);
    }

    private static void beside() throws Exception {
        ZooKeeper zk = bare(clientAndRoom());
        Seen lasting = new Seen();
        Seen once = new Seen();
        zk.addWatch(path("/a"), lasting, AddWatchMode.PERSISTENT);
        zk.exists(path("/a"), once);
        zk.create(path("/a"), null, org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE, org.apache.zookeeper.CreateMode.PERSISTENT);
        zk.setData(path("/a"), new byte[1], -1);
        same(List.of("NodeCreated /a", "NodeDataChanged /a"), next(lasting.all, 2));
        same("NodeCreated /a", next(once.all));
        silent(once.all);
    }

    private static void transaction() throws Exception {
        CuratorFramework client = clientAndRoom();
        Seen seen = new Seen();
        client.create().forPath(path("/old"));
        client.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE).usingWatcher((CuratorWatcher) seen).forPath(path(""));
        client.transaction().forOperations(client.transactionOp().create().forPath(path("/a")),
            client.transactionOp().create().forPath(path("/a/b")), client.transactionOp().setData().forPath(path("/a"), "1".getBytes()),
            client.transactionOp().delete().forPath(path("/old")));
        same(List.of("NodeCreated /a", "NodeCreated /a/b", "NodeDataChanged /a", "NodeDeleted /old"), next(seen.all, 4));
        refused(Code.BADVERSION, () -> client.transaction().forOperations(client.transactionOp().delete().forPath(path("/a/b")),
            client.transactionOp().check().withVersion(9).forPath(path("/a"))));
        silent(seen.all);
    }

    private static void removed() throws Exception {
        CuratorFramework client = clientAndRoom();
        Seen seen = new Seen();
        client.create().forPath(path("/a"));
        client.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE).usingWatcher((CuratorWatcher) seen).forPath(path("/a"));
        client.watchers().remove((CuratorWatcher) seen).forPath(path("/a"));
        same("PersistentWatchRemoved /a", next(seen.all));
        client.getData().usingWatcher((CuratorWatcher) seen).forPath(path("/a"));
        client.watchers().removeAll().forPath(path("/a"));
        same("DataWatchRemoved /a", next(seen.all));
        client.setData().forPath(path("/a"), "1".getBytes());
        silent(seen.all);
        refused(Code.NOWATCHER, () -> bare(client).removeAllWatches(path("/a"), Watcher.WatcherType.Any, false));
    }

    private static void removedByKind() throws Exception {
        CuratorFramework client = clientAndRoom();
        ZooKeeper zk = bare(client);
        Seen data = new Seen();
        Seen children = new Seen();
        client.create().forPath(path("/a"));
        zk.getData(path("/a"), data, null);
        zk.getChildren(path("/a"), children);
        zk.removeWatches(path("/a"), children, Watcher.WatcherType.Children, false);
        same("ChildWatchRemoved /a", next(children.all));
        client.create().forPath(path("/a/b"));
        client.setData().forPath(path("/a"), "1".getBytes());
        same("NodeDataChanged /a", next(data.all));
        silent(children.all);
        refused(Code.NOWATCHER, () -> zk.removeWatches(path("/a"), children, Watcher.WatcherType.Children, false));
    }

    /** An event of a change is delivered before any answer that shows the change or a later one. */
    private static void order() throws Exception {
        CuratorFramework client = clientAndRoom();
        CuratorFramework writer = client();
        String at = client.create().forPath(path("/a"), "0".getBytes());
        ZooKeeper zk = bare(client);
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        zk.addWatch(at, event -> told.add("event"), AddWatchMode.PERSISTENT);
        for (int i = 1; i <= 100; i++) {
            writer.setData().inBackground().forPath(at, ("" + i).getBytes());
        }
        int last = 0;
        while (last < 100) {
            BlockingQueue<String> answer = new LinkedBlockingQueue<>();
            zk.getData(at, false, (rc, p, context, data, stat) -> answer.add(new String(data) + " " + told.size()), null);
            String[] both = next(answer).split(" ");
            last = Integer.parseInt(both[0]);
            require(Integer.parseInt(both[1]) >= last, "read " + last + " after " + both[1] + " events");
        }
        same(100, told.size());
    }

    private static void persistentWatcher() throws Exception {
        CuratorFramework client = clientAndRoom();
        Seen seen = new Seen();
        try (PersistentWatcher watcher = new PersistentWatcher(client, path("/a"), true)) {
            BlockingQueue<String> reset = new LinkedBlockingQueue<>();
            watcher.getResetListenable().addListener(() -> reset.add("reset"));
            watcher.getListenable().addListener(seen);
            watcher.start();
            next(reset);
            client.create().creatingParentsIfNeeded().forPath(path("/a/b"));
            same(List.of("NodeCreated /a", "NodeCreated /a/b"), next(seen.all, 2));
        }
        eventually("it is removed", () -> {
            seen.all.clear();
            client.setData().forPath(path("/a"), "1".getBytes());
            Thread.sleep(100);
            return seen.all.isEmpty();
        });
    }
}
