import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/** Znodes of every kind, data, children, transactions and permissions, through Curator and through the Java client under it. */
final class Basics extends Harness {
    private Basics() {}

    static void checks() {
        check("create of every mode", Basics::modes);
        check("create with parents, stat, protection, or set", Basics::createWith);
        check("create answers with a Stat", Basics::createStat);
        check("containers go when they are empty", Basics::container);
        check("TTL znodes go when their time is over", Basics::ttl);
        check("set and delete by version", Basics::versions);
        check("data, empty, compressed and large", Basics::data);
        check("children and their numbers", Basics::children);
        check("background calls are answered in order", Basics::background);
        check("illegal and reserved paths", Basics::paths);
        check("namespaces", Basics::namespaces);
        check("transactionOp", Basics::transaction);
        check("transactionOp that fails", Basics::transactionFails);
        check("inTransaction", Basics::inTransaction);
        check("multi of reads", Basics::multiRead);
        check("ACL by digest", Basics::aclDigest);
        check("ACL of the creator, of the world and of an address", Basics::aclKinds);
        check("setACL by version", Basics::aclVersions);
        check("whoAmI", Basics::whoAmI);
        check("getEphemerals", Basics::ephemerals);
        check("sync", Basics::sync);
        check("getConfig", Basics::config);
    }

    private static void modes() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path(""));
        long session = bare(client).getSessionId();
        for (CreateMode mode : CreateMode.values()) {
            String wanted = path("/" + mode);
            String made = mode.isTTL()
                ? client.create().withTtl(60_000).withMode(mode).forPath(wanted, "data".getBytes())
                : client.create().withMode(mode).forPath(wanted, "data".getBytes());
            require(mode.isSequential() ? made.matches(wanted + "[0-9]{10}") : made.equals(wanted), "made as " + made);
            Stat stat = client.checkExists().forPath(made);
            same(mode.isEphemeral() ? session : 0L, mode.isEphemeral() || !mode.isTTL() && !mode.isContainer() ? stat.getEphemeralOwner() : 0L);
            same("data", client.getData().forPath(made));
            if (mode.isEphemeral()) {
                refused(Code.NOCHILDRENFOREPHEMERALS, () -> client.create().forPath(made + "/child"));
            } else {
                client.create().forPath(made + "/child");
            }
        }
        same(CreateMode.values().length, client.getChildren().forPath(path("")).size());
    }

    private static void createWith() throws Exception {
        CuratorFramework client = client();
        Stat stat = new Stat();
        same(path("/a/b/c"), client.create().storingStatIn(stat).creatingParentsIfNeeded().forPath(path("/a/b/c"), "abc".getBytes()));
        same(3, stat.getDataLength());
        refused(Code.NODEEXISTS, () -> client.create().creatingParentsIfNeeded().forPath(path("/a/b/c")));
        client.create().orSetData().forPath(path("/a/b/c"), "set".getBytes());
        same("set", client.getData().storingStatIn(stat).forPath(path("/a/b/c")));
        same(1, stat.getVersion());
        client.create().orSetData(1).forPath(path("/a/b/c"), "again".getBytes());
        refused(Code.BADVERSION, () -> client.create().orSetData(1).forPath(path("/a/b/c"), "no".getBytes()));
        String made = client.create().creatingParentContainersIfNeeded().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL)
            .forPath(path("/contained/n-"));
        require(made.matches(path("/contained/_c_[-0-9a-f]{36}-n-0000000000")), made);
        client.create().idempotent().forPath(path("/idempotent"), "same".getBytes());
        client.create().idempotent().forPath(path("/idempotent"), "same".getBytes());
        refused(Code.NODEEXISTS, () -> client.create().idempotent().forPath(path("/idempotent"), "other".getBytes()));
        refused(Code.NONODE, () -> client.create().forPath(path("/none/child")));
    }

    private static void createStat() throws Exception {
        CuratorFramework client = client();
        ZooKeeper zk = bare(client);
        for (CreateMode mode : CreateMode.values()) {
            Stat told = new Stat();
            String base = client.create().orSetData().creatingParentsIfNeeded().forPath(path(""));
            String made = mode.isTTL() ? zk.create(base + "/" + mode, new byte[5], Ids.OPEN_ACL_UNSAFE, mode, told, 50_000)
                : zk.create(base + "/" + mode, new byte[5], Ids.OPEN_ACL_UNSAFE, mode, told);
            same(zk.exists(made, false), told);
            same(told.getCzxid(), told.getMzxid());
            same(told.getCzxid(), told.getPzxid());
        }
    }

    private static void container() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().withMode(CreateMode.CONTAINER).forPath(path("/container"));
        client.create().forPath(path("/container/child"));
        Thread.sleep(2500);
        client.delete().forPath(path("/container/child"));
        eventually("the container is gone", () -> client.checkExists().forPath(path("/container")) == null);
    }

    private static void ttl() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path("/parent"));
        client.create().withTtl(1500).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path("/parent/short"));
        client.create().withTtl(1500).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path("/parent/with-child"));
        client.create().forPath(path("/parent/with-child/child"));
        client.create().withTtl(600_000).withMode(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL).forPath(path("/parent/long-"));
        same(3, client.getChildren().forPath(path("/parent")).size());
        eventually("the short one is gone", () -> client.checkExists().forPath(path("/parent/short")) == null);
        require(client.checkExists().forPath(path("/parent/with-child")) != null, "gone, though it has a child");
        client.delete().forPath(path("/parent/with-child/child"));
        eventually("the other is gone when it is empty", () -> client.checkExists().forPath(path("/parent/with-child")) == null);
        same(1, client.getChildren().forPath(path("/parent")).size());
    }

    private static void versions() throws Exception {
        CuratorFramework client = client();
        String at = client.create().creatingParentsIfNeeded().forPath(path("/node"), "0".getBytes());
        same(1, client.setData().withVersion(0).forPath(at, "1".getBytes()).getVersion());
        refused(Code.BADVERSION, () -> client.setData().withVersion(0).forPath(at, "x".getBytes()));
        same(2, client.setData().forPath(at, "2".getBytes()).getVersion());
        same(3, client.setData().idempotent().withVersion(2).forPath(at, "3".getBytes()).getVersion());
        refused(Code.BADVERSION, () -> client.delete().withVersion(7).forPath(at));
        client.create().forPath(at + "/child");
        refused(Code.NOTEMPTY, () -> client.delete().forPath(at));
        client.delete().guaranteed().deletingChildrenIfNeeded().forPath(at);
        refused(Code.NONODE, () -> client.delete().forPath(at));
        client.delete().quietly().forPath(at);
        client.delete().idempotent().forPath(at);
        refused(Code.NONODE, () -> client.setData().forPath(at, "x".getBytes()));
    }

    private static void data() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path("/empty"), new byte[0]);
        same(0, client.getData().forPath(path("/empty")).length);
        ZooKeeper zk = bare(client);
        zk.create(path("/null"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        require(zk.getData(path("/null"), false, null) == null, "null data has become something");
        byte[] large = new byte[1_000_000];
        for (int i = 0; i < large.length; i++) {
            large[i] = (byte) (i * 31);
        }
        client.create().forPath(path("/large"), large);
        require(Arrays.equals(large, client.getData().forPath(path("/large"))), "other data");
        byte[] text = "compress ".repeat(10_000).getBytes();
        client.create().compressed().forPath(path("/compressed"), text);
        require(client.checkExists().forPath(path("/compressed")).getDataLength() < 1000, "not compressed");
        require(Arrays.equals(text, client.getData().decompressed().forPath(path("/compressed"))), "other data");
    }

    private static void children() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path("/parent"));
        for (int i = 0; i < 50; i++) {
            client.create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(path("/parent/n-"));
        }
        for (int i = 0; i < 50; i += 2) {
            client.delete().forPath(path("/parent/n-%010d".formatted(i)));
        }
        Stat stat = new Stat();
        List<String> names = client.getChildren().storingStatIn(stat).forPath(path("/parent"));
        same(25, names.size());
        same(25, stat.getNumChildren());
        same(75, stat.getCversion());
        require(names.contains("n-0000000049") && !names.contains("n-0000000048"), "other children");
        same(path("/parent/n-0000000050"), client.create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(path("/parent/n-")));
        same(26, bare(client).getAllChildrenNumber(path("/parent")));
        refused(Code.NONODE, () -> client.getChildren().forPath(path("/none")));
    }

    private static void background() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path("/parent"));
        BlockingQueue<String> answers = new LinkedBlockingQueue<>();
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            String at = path("/parent/" + i);
            client.create().inBackground((c, event) -> answers.add("created " + event.getPath() + " " + event.getResultCode())).forPath(at);
            client.setData().inBackground((c, event) -> answers.add("set " + event.getStat().getVersion())).forPath(at, "x".getBytes());
            client.getData().inBackground((c, event) -> answers.add("data " + new String(event.getData()))).forPath(at);
            client.checkExists().inBackground((c, event) -> answers.add("exists " + event.getResultCode())).forPath(at + "/none");
            client.delete().inBackground((c, event) -> answers.add("deleted " + event.getResultCode())).forPath(at);
            expected.addAll(List.of("created " + at + " 0", "set 1", "data x", "exists " + Code.NONODE.intValue(), "deleted 0"));
        }
        same(expected, next(answers, 1000));
    }

    private static void paths() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path(""));
        for (String bad : List.of("none", "/a//b", "/a/./b", "/a/../b", "/a/", "")) {
            refused(IllegalArgumentException.class, () -> client.create().forPath(bad));
        }
        String odd = path("/ü 漢字 %2F");
        client.create().forPath(odd, "odd".getBytes());
        same("odd", client.getData().forPath(odd));
        same(List.of("ü 漢字 %2F"), client.getChildren().forPath(path("")));
        refused(Code.BADARGUMENTS, () -> bare(client).delete("/", -1));
        require(client.getChildren().forPath("/zookeeper").containsAll(List.of("config", "quota")), "no /zookeeper");
    }

    private static void namespaces() throws Exception {
        CuratorFramework client = client();
        String namespace = path("/space").substring(1);
        CuratorFramework inside = client.usingNamespace(namespace);
        same("/node", inside.create().creatingParentsIfNeeded().forPath("/node", "in".getBytes()));
        same("in", client.getData().forPath(path("/space/node")));
        same(List.of("node"), inside.getChildren().forPath("/"));
        CuratorFramework rooted = clientAt(servers + path("/space"));
        eventually("seen below the root of a connection", () -> rooted.checkExists().forPath("/node") != null);
        same("/seq0000000001", rooted.create().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/seq"));
        same(List.of("/seq0000000001"), bare(rooted).getEphemerals().stream().map(p -> p.replace(path("/space"), "")).toList());
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        rooted.getData().usingWatcher((org.apache.curator.framework.api.CuratorWatcher) e -> seen.add(e.getPath())).forPath("/node");
        inside.setData().forPath("/node", "again".getBytes());
        same("/node", next(seen));
    }

    private static void transaction() throws Exception {
        CuratorFramework client = client();
        String at = client.create().creatingParentsIfNeeded().forPath(path("/node"), "0".getBytes());
        client.create().forPath(path("/old"));
        List<CuratorTransactionResult> results = client.transaction().forOperations(
            client.transactionOp().check().withVersion(0).forPath(at),
            client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(at + "/n-", "n".getBytes()),
            client.transactionOp().create().withMode(CreateMode.EPHEMERAL).forPath(at + "/e"),
            client.transactionOp().create().withTtl(60_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(at + "/t"),
            client.transactionOp().create().withMode(CreateMode.CONTAINER).forPath(at + "/c"),
            client.transactionOp().setData().withVersion(0).forPath(at, "1".getBytes()),
            client.transactionOp().delete().forPath(path("/old")));
        same(List.of(OperationType.CHECK, OperationType.CREATE, OperationType.CREATE, OperationType.CREATE, OperationType.CREATE,
            OperationType.SET_DATA, OperationType.DELETE), results.stream().map(CuratorTransactionResult::getType).toList());
        same(at + "/n-0000000000", results.get(1).getResultPath());
        same(1, results.get(5).getResultStat().getVersion());
        same(4, results.get(5).getResultStat().getNumChildren());
        same(new TreeSet<>(List.of("n-0000000000", "e", "t", "c")), new TreeSet<>(client.getChildren().forPath(at)));
        Stat stat = client.checkExists().forPath(at);
        same(stat.getMzxid(), client.checkExists().forPath(at + "/e").getCzxid());
        require(client.checkExists().forPath(path("/old")) == null, "not deleted");
    }

    private static void transactionFails() throws Exception {
        CuratorFramework client = client();
        String at = client.create().creatingParentsIfNeeded().forPath(path("/node"), "0".getBytes());
        List<CuratorOp> operations = List.of(
            client.transactionOp().setData().forPath(at, "1".getBytes()),
            client.transactionOp().create().forPath(at + "/child"),
            client.transactionOp().check().withVersion(0).forPath(at),
            client.transactionOp().delete().forPath(path("/none")));
        KeeperException error = refused(KeeperException.class, () -> client.transaction().forOperations(operations));
        same(Code.BADVERSION, error.code());
        List<Integer> codes = error.getResults().stream().map(r -> ((OpResult.ErrorResult) r).getErr()).toList();
        same(List.of(0, 0, Code.BADVERSION.intValue(), Code.RUNTIMEINCONSISTENCY.intValue()), codes);
        same(0, client.checkExists().forPath(at).getVersion());
        same(List.of(), client.getChildren().forPath(at));
        refused(Code.NODEEXISTS, () -> client.transaction().forOperations(
            client.transactionOp().create().forPath(at + "/twice"), client.transactionOp().create().forPath(at + "/twice")));
        same(List.of(), client.getChildren().forPath(at));
    }

    @SuppressWarnings("deprecation")
    private static void inTransaction() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path("/node"));
        Collection<CuratorTransactionResult> results = client.inTransaction().create().forPath(path("/node/a"), "a".getBytes()).and()
            .setData().forPath(path("/node/a"), "b".getBytes()).and().create().forPath(path("/node/a/b")).and().commit();
        same(3, results.size());
        same("b", client.getData().forPath(path("/node/a")));
        refused(Code.NOTEMPTY, () -> client.inTransaction().create().forPath(path("/node/x")).and().delete().forPath(path("/node/a")).and().commit());
        same(List.of("a"), client.getChildren().forPath(path("/node")));
    }

    private static void multiRead() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path("/node/child"), "data".getBytes());
        List<OpResult> results = bare(client).multi(List.of(Op.getData(path("/node/child")), Op.getChildren(path("/node")),
            Op.getData(path("/none"))));
        same("data", ((OpResult.GetDataResult) results.get(0)).getData());
        same(List.of("child"), ((OpResult.GetChildrenResult) results.get(1)).getChildren());
        same(Code.NONODE.intValue(), ((OpResult.ErrorResult) results.get(2)).getErr());
    }

    private static void aclDigest() throws Exception {
        CuratorFramework owner = clientAs("owner:secret");
        CuratorFramework stranger = client();
        String id = DigestAuthenticationProvider.generateDigest("owner:secret");
        List<ACL> only = List.of(new ACL(Perms.ALL, new Id("digest", id)));
        String at = owner.create().creatingParentsIfNeeded().withACL(only).forPath(path("/node"), "x".getBytes());
        stranger.sync().forPath(at);
        refused(Code.NOAUTH, () -> stranger.getData().forPath(at));
        refused(Code.NOAUTH, () -> stranger.setData().forPath(at, "y".getBytes()));
        refused(Code.NOAUTH, () -> stranger.create().forPath(at + "/child"));
        refused(Code.NOAUTH, () -> stranger.getChildren().forPath(at));
        refused(Code.NOAUTH, () -> stranger.setACL().withACL(Ids.OPEN_ACL_UNSAFE).forPath(at));
        refused(Code.NOAUTH, () -> stranger.transaction().forOperations(stranger.transactionOp().setData().forPath(at, "y".getBytes())));
        refused(Code.NOAUTH, () -> stranger.checkExists().forPath(at));
        same("x", owner.getData().forPath(at));
        same(only, owner.getACL().forPath(at));
        // Who asks learns nothing of the hash without a permission.
        refused(Code.NOAUTH, () -> stranger.getACL().forPath(at));
        // What may be done to a child is its parent's to say.
        owner.create().withACL(Ids.OPEN_ACL_UNSAFE).forPath(at + "/open");
        stranger.sync().forPath(at);
        refused(Code.NOAUTH, () -> stranger.delete().forPath(at + "/open"));
        bare(stranger).addAuthInfo("digest", "owner:secret".getBytes());
        stranger.delete().forPath(at + "/open");
    }

    private static void aclKinds() throws Exception {
        CuratorFramework owner = clientAs("me:my");
        owner.create().creatingParentsIfNeeded().withACL(Ids.CREATOR_ALL_ACL).forPath(path("/mine"));
        same(List.of(new ACL(Perms.ALL, new Id("digest", DigestAuthenticationProvider.generateDigest("me:my")))),
            owner.getACL().forPath(path("/mine")));
        owner.create().withACL(Ids.READ_ACL_UNSAFE).forPath(path("/readable"), "r".getBytes());
        CuratorFramework stranger = client();
        stranger.sync().forPath(path("/readable"));
        same("r", stranger.getData().forPath(path("/readable")));
        refused(Code.NOAUTH, () -> stranger.setData().forPath(path("/readable"), "w".getBytes()));
        stranger.create().withACL(List.of(new ACL(Perms.ALL, new Id("ip", "127.0.0.0/8")))).forPath(path("/here"), "h".getBytes());
        stranger.create().withACL(List.of(new ACL(Perms.ALL, new Id("ip", "10.0.0.1")))).forPath(path("/elsewhere"));
        same("h", stranger.getData().forPath(path("/here")));
        refused(Code.NOAUTH, () -> stranger.getData().forPath(path("/elsewhere")));
        refused(Code.INVALIDACL, () -> stranger.create().withACL(Ids.CREATOR_ALL_ACL).forPath(path("/nobodys")));
        refused(Code.INVALIDACL, () -> stranger.create().withACL(List.of(new ACL(Perms.ALL, new Id("scheme", "x")))).forPath(path("/nobodys")));
        // What nobody may read may still be deleted by whoever may delete below its parent.
        for (String name : List.of("/mine", "/elsewhere")) {
            stranger.delete().forPath(path(name));
        }
    }

    private static void aclVersions() throws Exception {
        CuratorFramework client = client();
        String at = client.create().creatingParentsIfNeeded().forPath(path("/node"));
        same(1, client.setACL().withVersion(0).withACL(Ids.READ_ACL_UNSAFE).forPath(at).getAversion());
        refused(Code.NOAUTH, () -> client.setACL().withVersion(0).withACL(Ids.OPEN_ACL_UNSAFE).forPath(at));
        String other = client.create().forPath(path("/other"));
        same(1, client.setACL().withACL(Ids.OPEN_ACL_UNSAFE).forPath(other).getAversion());
        refused(Code.BADVERSION, () -> client.setACL().withVersion(0).withACL(Ids.OPEN_ACL_UNSAFE).forPath(other));
    }

    private static void whoAmI() throws Exception {
        CuratorFramework client = clientAs("some:body");
        List<String> me = bare(client).whoAmI().stream().map(i -> i.getAuthScheme() + " " + i.getUser()).toList();
        same(new TreeSet<>(List.of("digest some", "ip 127.0.0.1")), new TreeSet<>(me));
    }

    private static void ephemerals() throws Exception {
        CuratorFramework client = client();
        client.create().creatingParentsIfNeeded().forPath(path("/b"));
        client.create().withMode(CreateMode.EPHEMERAL).forPath(path("/a"));
        client.create().withMode(CreateMode.EPHEMERAL).forPath(path("/b/c"));
        ZooKeeper zk = bare(client);
        same(new TreeSet<>(List.of(path("/a"), path("/b/c"))), new TreeSet<>(zk.getEphemerals()));
        same(List.of(path("/b/c")), zk.getEphemerals(path("/b")));
        client.delete().forPath(path("/a"));
        same(List.of(path("/b/c")), zk.getEphemerals());
    }

    private static void sync() throws Exception {
        CuratorFramework writer = client();
        CuratorFramework reader = client();
        String at = writer.create().creatingParentsIfNeeded().forPath(path("/node"), "0".getBytes());
        for (int i = 1; i <= 30; i++) {
            writer.setData().forPath(at, ("" + i).getBytes());
            reader.sync().forPath(at);
            same("" + i, reader.getData().forPath(at));
        }
    }

    private static void config() throws Exception {
        String config = new String(client().getConfig().forEnsemble());
        int members = servers.split(",").length;
        same(members == 1 ? 0L : (long) members, config.lines().filter(line -> line.startsWith("server.")).count());
        require(members == 1 ? config.isEmpty() : config.contains("version="), "a configuration: " + config);
    }
}
