/**
 * Apache Curator's recipes, and the Java client under them, against a server: java Curator HOST:PORT[,HOST:PORT...] [WORDS OF A CHECK].
 * The variable RESTART may hold a command that kills the server (of an ensemble: one of them) and starts it again, KNOWN the name of a
 * check that need not hold: that it does not is told, and counts nothing. Ends with 'N passed, M failed'. What it expects, a real ZooKeeper 3.9 fulfils: it is run against one too. Servers need extendedTypesEnabled and
 * look for containers and TTL znodes each second (znode.container.checkIntervalMs).
 */
public final class Curator {
    private Curator() {}

    public static void main(String[] arguments) throws Exception {
        Harness.filter = arguments.length > 1 ? arguments[1] : "";
        Harness.start(arguments[0]);
        Basics.checks();
        Watches.checks();
        Locks.checks();
        Shared.checks();
        Nodes.checks();
        Sessions.checks();
        Harness.end();
        System.exit(Harness.failed > 0 ? 1 : 0);
    }
}
