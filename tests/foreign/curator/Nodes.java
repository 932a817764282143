import static java.util.concurrent.TimeUnit.SECONDS;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.utils.ZKPaths;
import org.apache.zookeeper.CreateMode;

/** Curator's znodes that are kept there, groups, and caches. */
@SuppressWarnings("deprecation")
final class Nodes extends Harness {
    private Nodes() {}

    static void checks() {
        for (CreateMode mode : List.of(CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.PERSISTENT, CreateMode.CONTAINER)) {
            check("PersistentNode " + mode, () -> persistentNode(mode));
        }
        check("PersistentNode when its session is killed", Nodes::persistentNodeKilled);
        check("PersistentTtlNode", Nodes::ttlNode);
        check("GroupMember", Nodes::groupMember);
        check("CuratorCache", Nodes::cache);
        check("CuratorCache of one znode", Nodes::cacheOfOne);
        check("CuratorCache of a subtree that many change", Nodes::cacheUnderLoad);
        check("CuratorCache when its session is killed", Nodes::cacheKilled);
        check("PathChildrenCache", Nodes::pathChildrenCache);
        check("TreeCache", Nodes::treeCache);
        check("NodeCache", Nodes::nodeCache);
    }

    private static void persistentNode(CreateMode mode) throws Exception {
        CuratorFramework client = client();
        PersistentNode node = closing(new PersistentNode(client, mode, true, path("/node"), "kept".getBytes()));
        node.start();
        require(node.waitForInitialCreate(WAIT, SECONDS), "not created");
        String first = node.getActualPath();
        same("kept", client.getData().forPath(first));
        same(mode.isEphemeral() ? bare(client).getSessionId() : 0L,
            mode == CreateMode.CONTAINER ? 0L : client.checkExists().forPath(first).getEphemeralOwner());
        client.delete().forPath(first);
        eventually("it is there again", () -> client.checkExists().forPath(node.getActualPath()) != null);
        node.setData("changed".getBytes());
        eventually("its data is changed", () -> new String(client.getData().forPath(node.getActualPath())).equals("changed"));
        node.close();
        eventually("it is gone", () -> client.checkExists().forPath(node.getActualPath() == null ? first : node.getActualPath()) == null);
    }

    private static void persistentNodeKilled() throws Exception {
        CuratorFramework client = client();
        PersistentNode node = closing(new PersistentNode(client, CreateMode.EPHEMERAL, false, path("/node"), "kept".getBytes()));
        client.create().creatingParentsIfNeeded().forPath(path(""));
        node.start();
        require(node.waitForInitialCreate(WAIT, SECONDS), "not created");
        long before = shared.checkExists().forPath(path("/node")) == null ? 0 : bare(client).getSessionId();
        killSession(client);
        eventually("it is there again, of another session", () -> {
            org.apache.zookeeper.data.Stat stat = shared.checkExists().forPath(path("/node"));
            return stat != null && stat.getEphemeralOwner() != before && stat.getEphemeralOwner() == bare(client).getSessionId();
        });
    }

    private static void ttlNode() throws Exception {
        CuratorFramework client = client();
        PersistentTtlNode node = new PersistentTtlNode(client, path("/ttl"), 2000, "data".getBytes());
        node.start();
        require(node.waitForInitialCreate(WAIT, SECONDS), "not created");
        same("data", client.getData().forPath(path("/ttl")));
        Thread.sleep(5000);
        same("data", client.getData().forPath(path("/ttl")));
        eventually("its child is touched", () -> client.getChildren().forPath(path("/ttl")).size() == 1);
        node.close();
        eventually("what is not touched any more goes", () -> client.checkExists().forPath(path("/ttl")) == null);
    }

    private static void groupMember() throws Exception {
        List<GroupMember> members = new ArrayList<>();
        List<CuratorFramework> clients = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            clients.add(client());
            GroupMember member = closing(new GroupMember(clients.get(i), path("/group"), "member " + i, ("data " + i).getBytes()));
            member.start();
            members.add(member);
        }
        for (GroupMember member : members) {
            eventually("each knows all", () -> member.getCurrentMembers().size() == 3);
        }
        Map<String, byte[]> group = members.get(2).getCurrentMembers();
        same(new TreeSet<>(List.of("member 0", "member 1", "member 2")), new TreeSet<>(group.keySet()));
        eventually("with its data", () -> new String(members.get(0).getCurrentMembers().get("member 1")).equals("data 1"));
        members.get(2).setThisData("new".getBytes());
        eventually("its new data is known", () -> new String(members.get(0).getCurrentMembers().get("member 2")).equals("new"));
        members.get(1).close();
        eventually("it has left", () -> members.get(0).getCurrentMembers().size() == 2);
        clients.get(2).close();
        eventually("so has the other", () -> members.get(0).getCurrentMembers().size() == 1);
    }

    private static String below(ChildData data) {
        return data == null ? "none" : data.getPath().substring(path("").length()) + "=" + new String(data.getData());
    }

    private static void cache() throws Exception {
        CuratorFramework writer = client();
        writer.create().creatingParentsIfNeeded().forPath(path("/top/old"), "o".getBytes());
        writer.setData().forPath(path("/top"), "r".getBytes());
        CuratorFramework client = client();
        client.sync().forPath(path("/top"));
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        CuratorCache cache = closing(CuratorCache.build(client, path("/top")));
        cache.listenable().addListener(CuratorCacheListener.builder().forCreates(data -> told.add("+ " + below(data)))
            .forChanges((from, to) -> told.add("* " + below(from) + " " + below(to))).forDeletes(data -> told.add("- " + below(data)))
            .forInitialized(() -> told.add("initialized")).build());
        cache.start();
        List<String> first = next(told, 3);
        same("initialized", first.get(2));
        same(new TreeSet<>(List.of("+ /top=r", "+ /top/old=o")), new TreeSet<>(first.subList(0, 2)));
        writer.create().forPath(path("/top/new"), "n".getBytes());
        same("+ /top/new=n", next(told));
        writer.setData().forPath(path("/top/new"), "m".getBytes());
        same("* /top/new=n /top/new=m", next(told));
        writer.delete().forPath(path("/top/old"));
        same("- /top/old=o", next(told));
        same(2, cache.size());
        same("/top/new=m", below(cache.get(path("/top/new")).orElse(null)));
        silent(told);
    }

    private static void cacheOfOne() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path(""));
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        CuratorCache cache = closing(CuratorCache.builder(client, path("/one")).withOptions(CuratorCache.Options.SINGLE_NODE_CACHE).build());
        cache.listenable().addListener((type, from, to) -> told.add(type + " " + below(from) + " " + below(to)));
        cache.start();
        Thread.sleep(200);
        client.create().forPath(path("/one"), "1".getBytes());
        same("NODE_CREATED none /one=1", next(told));
        client.create().forPath(path("/one/below"));
        client.setData().forPath(path("/one"), "2".getBytes());
        same("NODE_CHANGED /one=1 /one=2", next(told));
        client.delete().deletingChildrenIfNeeded().forPath(path("/one"));
        same("NODE_DELETED /one=2 none", next(told));
    }

    /** The cache has in the end what the server has. */
    private static void converges(CuratorCache cache) throws Exception {
        eventually("the cache has what the server has", () -> {
            TreeSet<String> there = new TreeSet<>();
            List<String> todo = new ArrayList<>(List.of(path("/top")));
            while (!todo.isEmpty()) {
                String at = todo.remove(todo.size() - 1);
                there.add(at + "=" + new String(shared.getData().forPath(at)));
                shared.getChildren().forPath(at).forEach(child -> todo.add(ZKPaths.makePath(at, child)));
            }
            TreeSet<String> cached = cache.stream().map(data -> data.getPath() + "=" + new String(data.getData()))
                .collect(Collectors.toCollection(TreeSet::new));
            return there.equals(cached);
        });
    }

    private static void change(CuratorFramework writer, int round) throws Exception {
        for (int i = 0; i < 10; i++) {
            String at = path("/top/" + i);
            writer.create().orSetData().creatingParentsIfNeeded().forPath(at + "/" + round, ("" + round).getBytes());
            writer.setData().inBackground().forPath(at, ("round " + round).getBytes());
            if (round > 1 && i % 2 == 0) {
                writer.delete().inBackground().forPath(at + "/" + (round - 2));
            }
        }
        writer.sync().forPath(path("/top"));
    }

    private static void cacheUnderLoad() throws Exception {
        CuratorFramework writer = client();
        CuratorFramework other = client();
        writer.create().creatingParentsIfNeeded().forPath(path("/top"));
        CuratorFramework client = client();
        client.sync().forPath(path("/top"));
        CuratorCache cache = closing(CuratorCache.build(client, path("/top")));
        cache.start();
        for (int round = 0; round < 10; round++) {
            change(round % 2 == 0 ? writer : other, round);
        }
        shared.sync().forPath(path("/top"));
        converges(cache);
    }

    private static void cacheKilled() throws Exception {
        CuratorFramework writer = client();
        writer.create().creatingParentsIfNeeded().forPath(path("/top"));
        CuratorFramework client = client();
        client.sync().forPath(path("/top"));
        CuratorCache cache = closing(CuratorCache.build(client, path("/top")));
        cache.start();
        change(writer, 0);
        killSession(client);
        change(writer, 1);
        change(writer, 2);
        shared.sync().forPath(path("/top"));
        converges(cache);
    }

    private static void pathChildrenCache() throws Exception {
        CuratorFramework writer = client();
        writer.create().creatingParentsIfNeeded().forPath(path("/top/a"), "1".getBytes());
        CuratorFramework client = client();
        client.sync().forPath(path("/top"));
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        PathChildrenCache cache = closing(new PathChildrenCache(client, path("/top"), true));
        cache.getListenable().addListener((c, event) -> told.add(event.getType() + " " + below(event.getData())));
        cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        same(List.of("/top/a=1"), cache.getCurrentData().stream().map(Nodes::below).toList());
        writer.create().forPath(path("/top/b"), "2".getBytes());
        List<String> seen = new ArrayList<>();
        // Whether the state of the connection is told depends on when the listener came.
        for (String one; !(one = next(told)).startsWith("CHILD_ADDED /top/b"); seen.add(one)) {
            require(one.startsWith("CONNECTION") || one.startsWith("CHILD_ADDED /top/a"), one);
        }
        writer.setData().forPath(path("/top/b"), "3".getBytes());
        same("CHILD_UPDATED /top/b=3", next(told));
        writer.create().forPath(path("/top/b/deep"));
        writer.delete().forPath(path("/top/a"));
        same("CHILD_REMOVED /top/a=1", next(told));
        silent(told);
    }

    private static void treeCache() throws Exception {
        CuratorFramework writer = client();
        writer.create().creatingParentsIfNeeded().forPath(path("/top/a"), "1".getBytes());
        CuratorFramework client = client();
        client.sync().forPath(path("/top"));
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        TreeCache cache = closing(TreeCache.newBuilder(client, path("/top")).build());
        cache.getListenable().addListener((c, event) -> {
            if (!event.getType().name().startsWith("CONNECTION")) {
                told.add(event.getType() + " " + below(event.getData()));
            }
        });
        writer.setData().forPath(path("/top"), "r".getBytes());
        client.sync().forPath(path("/top"));
        cache.start();
        same(List.of("NODE_ADDED /top=r", "NODE_ADDED /top/a=1", "INITIALIZED none"), next(told, 3));
        writer.create().creatingParentsIfNeeded().forPath(path("/top/a/b"), "2".getBytes());
        same("NODE_ADDED /top/a/b=2", next(told));
        writer.setData().forPath(path("/top/a"), "4".getBytes());
        same("NODE_UPDATED /top/a=4", next(told));
        writer.delete().deletingChildrenIfNeeded().forPath(path("/top/a"));
        same(List.of("NODE_REMOVED /top/a/b=2", "NODE_REMOVED /top/a=4"), next(told, 2));
        same(Map.of(), cache.getCurrentChildren(path("/top")));
        silent(told);
    }

    private static void nodeCache() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path(""));
        NodeCache cache = closing(new NodeCache(client, path("/node")));
        cache.start(true);
        require(cache.getCurrentData() == null, "something where nothing is");
        for (String data : List.of("1", "2", "3")) {
            client.create().orSetData().forPath(path("/node"), data.getBytes());
            eventually("it is cached", () -> cache.getCurrentData() != null && new String(cache.getCurrentData().getData()).equals(data));
        }
        client.delete().forPath(path("/node"));
        eventually("it is gone", () -> cache.getCurrentData() == null);
    }
}
