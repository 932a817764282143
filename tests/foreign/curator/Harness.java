import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;

/** What every check needs: clients, a path of its own, patience, and a count. */
class Harness {
    /** How long anything may take that must come, in seconds. */
    static final int WAIT = 20;
    /** Session timeout of our clients, ms. */
    static final int SESSION = 10_000;

    static String servers;
    static String filter = "";
    static int passed;
    static int failed;
    static CuratorFramework shared;
    private static final String ROOT = "/curator-" + UUID.randomUUID().toString().substring(0, 8);
    private static String current;
    private static final List<AutoCloseable> toClose = new ArrayList<>();

    Harness() {}

    interface Body {
        void run() throws Exception;
    }

    /** Runs one check with a path of its own, and closes what it has left open. */
    static void check(String name, Body body) {
        if (!name.contains(filter)) {
            return;
        }
        current = ROOT + "/" + name.replace(' ', '-').replace(',', '_');
        ExecutorService thread = Executors.newSingleThreadExecutor(Harness::daemon);
        Future<?> run = thread.submit(() -> {
            body.run();
            return null;
        });
        String why = null;
        try {
            run.get(90, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            StringBuilder at = new StringBuilder("no end after 90 s");
            Thread.getAllStackTraces().forEach((t, stack) -> {
                if (t.getName().equals("check")) {
                    Arrays.stream(stack).filter(f -> f.getModuleName() == null).limit(6).forEach(f -> at.append(" < ").append(f));
                }
            });
            why = at.toString();
            run.cancel(true);
        } catch (ExecutionException e) {
            Throwable cause = e.getCause();
            why = cause.toString();
            for (StackTraceElement f : cause.getStackTrace()) {
                if (f.getClassLoaderName() != null && f.getClassLoaderName().equals("app") && !f.getClassName().startsWith("org.")
                    && !f.getClassName().equals("Harness")) {
                    why += " (" + f.getFileName() + ":" + f.getLineNumber() + ")";
                    break;
                }
            }
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
        thread.shutdown();
        for (int i = toClose.size() - 1; i >= 0; i--) {
            try {
                toClose.get(i).close();
            } catch (Exception e) {
                // Closed already, or its session is gone: what counts was asserted.
            }
        }
        toClose.clear();
        if (why != null && name.equals(System.getenv("KNOWN"))) {
            System.out.println("known " + name + ": " + why);
        } else if (why == null) {
            passed++;
            System.out.println("ok " + name);
        } else {
            failed++;
            System.out.println("FAILED " + name + ": " + why);
        }
    }

    static Thread daemon(Runnable run) {
        Thread thread = new Thread(run, "check");
        thread.setDaemon(true);
        return thread;
    }

    /** A path of this check's own. */
    static String path(String below) {
        return current + below;
    }

    static void start(String connect) throws Exception {
        servers = connect;
        shared = newClient(servers);
        shared.create().creatingParentsIfNeeded().forPath(ROOT);
    }

    static void end() throws Exception {
        try {
            shared.delete().deletingChildrenIfNeeded().forPath(ROOT);
        } catch (KeeperException e) {
            // A check that failed has left what may not be read.
            System.err.println("not tidied up: " + e);
        }
        shared.close();
        System.out.println(passed + " passed, " + failed + " failed");
    }

    static <T extends AutoCloseable> T closing(T what) {
        toClose.add(what);
        return what;
    }

    /** Threads of this check, that end with it. */
    static ExecutorService threads() {
        ExecutorService threads = Executors.newCachedThreadPool(Harness::daemon);
        closing(() -> threads.shutdownNow());
        return threads;
    }

    private static CuratorFramework newClient(String connect) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(connect).sessionTimeoutMs(SESSION)
            .connectionTimeoutMs(SESSION).retryPolicy(new RetryNTimes(100, 100)).build();
        client.start();
        require(client.blockUntilConnected(WAIT, TimeUnit.SECONDS), "no connection to " + connect);
        return client;
    }

    /** A client of this check's own. */
    static CuratorFramework client() throws Exception {
        return closing(newClient(servers));
    }

    static CuratorFramework clientAt(String connect) throws Exception {
        return closing(newClient(connect));
    }

    /** One with these credentials. */
    static CuratorFramework clientAs(String credentials) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(servers).sessionTimeoutMs(SESSION)
            .connectionTimeoutMs(SESSION).authorization("digest", credentials.getBytes()).retryPolicy(new RetryOneTime(100)).build();
        client.start();
        require(client.blockUntilConnected(WAIT, TimeUnit.SECONDS), "no connection");
        return closing(client);
    }

    /** The bare handle; its events of the connection are not looked at. */
    static ZooKeeper bare(CuratorFramework client) throws Exception {
        return client.getZookeeperClient().getZooKeeper();
    }

    /** Ends this client's session from outside: another handle of the same session closes it. The client hears only that it is over. */
    static void killSession(CuratorFramework client) throws Exception {
        long id = bare(client).getSessionId();
        byte[] password = bare(client).getSessionPasswd();
        // The client may take its session back before the twin has closed it: until there is none.
        for (int i = 0; i < 20; i++) {
            BlockingQueue<KeeperState> told = new LinkedBlockingQueue<>();
            ZooKeeper twin = new ZooKeeper(servers, SESSION, event -> told.add(event.getState()), id, password);
            KeeperState state = next(told);
            twin.close();
            if (state == KeeperState.Expired) {
                return;
            }
        }
        throw new AssertionError("the session does not end");
    }

    /** The states a client goes through from now on. */
    static BlockingQueue<ConnectionState> states(CuratorFramework client) {
        BlockingQueue<ConnectionState> states = new LinkedBlockingQueue<>();
        client.getConnectionStateListenable().addListener((c, state) -> states.add(state));
        return states;
    }

    /** Waits for this state, whatever comes before. */
    static void await(BlockingQueue<ConnectionState> states, ConnectionState wanted) throws Exception {
        List<ConnectionState> seen = new ArrayList<>();
        for (ConnectionState state; (state = states.poll(2 * WAIT, TimeUnit.SECONDS)) != wanted; seen.add(state)) {
            require(state != null, "never " + wanted + ", only " + seen);
        }
    }

    static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
        T value = queue.poll(WAIT, TimeUnit.SECONDS);
        require(value != null, "nothing has come");
        return value;
    }

    /** The next ones, until there are this many. */
    static <T> List<T> next(BlockingQueue<T> queue, int count) throws InterruptedException {
        List<T> all = new ArrayList<>();
        while (all.size() < count) {
            T value = queue.poll(WAIT, TimeUnit.SECONDS);
            require(value != null, "only " + all + " has come");
            all.add(value);
        }
        return all;
    }

    static void silent(BlockingQueue<?> queue) throws InterruptedException {
        Object value = queue.poll(300, TimeUnit.MILLISECONDS);
        require(value == null, "has come, and should not have: " + value);
    }

    static void require(boolean holds, String why) {
        if (!holds) {
            throw new AssertionError(why);
        }
    }

    static void same(Object expected, Object actual) {
        require(Objects.equals(expected, actual), "expected " + expected + ", not " + actual);
    }

    static void same(String expected, byte[] actual) {
        same(expected, actual == null ? null : new String(actual));
    }

    /** Waits until it holds: what another member of an ensemble has done may take its time to get here. */
    static void eventually(String what, Callable<Boolean> holds) throws Exception {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT);
        while (!holds.call()) {
            require(System.nanoTime() < until, "never came: " + what);
            Thread.sleep(20);
        }
    }

    static <E extends Exception> E refused(Class<E> with, Body body) throws Exception {
        try {
            body.run();
        } catch (Exception e) {
            if (with.isInstance(e)) {
                return with.cast(e);
            }
            throw e;
        }
        throw new AssertionError("not refused with " + with.getSimpleName());
    }

    static void refused(KeeperException.Code code, Body body) throws Exception {
        same(code, refused(KeeperException.class, body).code());
    }

    /** A network between a client and the server, that can be cut and mended. */
    static final class Network implements AutoCloseable {
        private final ServerSocket ear;
        private final List<Socket> open = new ArrayList<>();
        private boolean whole = true;

        Network() throws Exception {
            ear = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
            daemon(this::accept).start();
            closing(this);
        }

        String address() {
            return "127.0.0.1:" + ear.getLocalPort();
        }

        synchronized void cut() throws Exception {
            whole = false;
            for (Socket socket : open) {
                socket.close();
            }
            open.clear();
        }

        synchronized void mend() {
            whole = true;
        }

        @Override
        public void close() throws Exception {
            ear.close();
            cut();
        }

        private void accept() {
            String[] first = servers.split("[,/]")[0].split(":");
            while (!ear.isClosed()) {
                try {
                    Socket near = ear.accept();
                    synchronized (this) {
                        if (!whole) {
                            near.close();
                            continue;
                        }
                        Socket far = new Socket(first[0], Integer.parseInt(first[1]));
                        open.add(near);
                        open.add(far);
                        daemon(() -> carry(near, far)).start();
                        daemon(() -> carry(far, near)).start();
                    }
                } catch (Exception e) {
                    // The server is not there: the client is told by the end of its connection, and comes again.
                }
            }
        }

        private void carry(Socket from, Socket to) {
            try (from; to) {
                InputStream in = from.getInputStream();
                OutputStream out = to.getOutputStream();
                byte[] some = new byte[65536];
                for (int n; (n = in.read(some)) > 0;) {
                    out.write(some, 0, n);
                    out.flush();
                }
            } catch (Exception e) {
                // Cut.
            }
        }
    }
}
