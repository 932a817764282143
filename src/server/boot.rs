//! Boot: from a configuration to a server that serves, and from a signal to a clean stop.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::admin::{Admin, Facts, Host};
use super::archive;
use super::audit::{AuditLog, AuditThread};
use super::config::effective::Effective;
use super::config::placement::{Cores, Plan, Sequencer as Placed, plan};
use super::config::reader::Request;
use super::config::settings::{FlushMethod as Configured, ServerConfig};
use super::config::{Level, Loaded};
use super::membership::{self, Membership};
use super::recover::{self, Recovered};
use super::reload::{Order, Reload, SetLevel, flush_knobs, flush_method, flush_orders, listen_for_orders, ordered};
use crate::auth::AuthConfig;
use crate::engine::audit::{Audit, Verdict};
use crate::engine::census::{Census, Word};
use crate::engine::sequencer::Sequencer;
use crate::engine::shard::{Shard, ShardConfig, Words};
use crate::ground::ids::{ServerId, ShardId};
use crate::runtime::acceptor::{Acceptor, Doorway, Guest, Inbox};
use crate::runtime::archivist_loop::ArchivistThread;
use crate::runtime::chance;
use crate::runtime::clock::Clock;
use crate::runtime::cores::{self, Executor, Heartbeat, Mates, SmallPages, Tick};
use crate::runtime::disk::LogDir;
use crate::runtime::keeper::{KeeperConfig, KeeperThread};
use crate::runtime::mesh::{self, Common};
use crate::runtime::preparer::{Preparer, PreparerConfig};
use crate::runtime::sequencer_loop::{self, SequencerSetup};
use crate::runtime::shard_loop::{self, ShardSetup};
use crate::session::Ids;
use crate::storage::appender::Appender;

/// How long a stop may take before the process ends all the same; everything acknowledged is durable long before.
const STOP_WITHIN: Duration = Duration::from_millis(1900);

/// How long a leader that stops may take to make way for another. Where nobody is ready in that time the others find out by themselves.
const LEAVE_WITHIN: Duration = Duration::from_millis(200);

/// How often it is looked whether it has.
const LEAVE_LOOK: Duration = Duration::from_millis(2);

/// Seconds without a heartbeat after which an executor is spoken of.
const SILENCE_TOLD: u32 = 10;

/// Seconds without a heartbeat after which the process ends: a server that does not move must not hold its clients.
const SILENCE_FATAL: u32 = 60;

/// A line for the operator, and the end.
pub(super) type Failed = String;

/// Tells the operator what there is to tell, and serves until told to stop.
#[must_use]
pub fn serve(loaded: Loaded, request: Request, set_level: SetLevel) -> ExitCode {
    let Loaded { config, notices, effective } = loaded;
    if let Err(line) = set_level(config.log_level.as_deref()) {
        tell(&format!("ringkeeper: {line}"));
        return ExitCode::FAILURE;
    }
    for notice in notices {
        match notice.level {
            Level::Info => tracing::info!(target: "ringkeeper::config", "{notice}"),
            Level::Warn => tracing::warn!(target: "ringkeeper::config", "{notice}"),
        }
    }
    match run(&config, effective, request, set_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            tell(&format!("ringkeeper: {line}"));
            ExitCode::FAILURE
        }
    }
}

struct Running {
    executors: Vec<Executor>,
    heartbeats: Vec<Heartbeat>,
    acceptor: Acceptor,
    /// For those who collect metrics.
    collectors: Option<Acceptor>,
    archivist: ArchivistThread,
    common: Arc<Common>,
    doorway: Arc<Doorway>,
    keeper: KeeperThread,
    is_member: bool,
    audit: Option<(Arc<AuditLog>, AuditThread)>,
}

fn run(config: &ServerConfig, effective: Vec<Effective>, request: Request, set_level: SetLevel) -> Result<(), Failed> {
    end_on_panic();
    cores::check_ring().map_err(|error| error.to_string())?;
    // Clients are descriptors: what the system allows is taken.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let (orders, orderly) = listen_for_orders()?;
    let socket = bind(config)?;
    let metrics = config.metrics.map(|address| bind_metrics(address, config)).transpose()?;
    let clock = Clock::default();
    let data = config.data_log_dir.join(recover::LOG);
    recover::refuse_foreign(&config.data_dir, &config.data_log_dir)?;
    if !config.data_dir_autocreate && !config.data_log_dir.is_dir() {
        return Err(format!("{} is not there, and datadir.autocreate=false", config.data_log_dir.display()));
    }
    let dir = LogDir::open(&data).map_err(|error| error.to_string())?;
    let auth = AuthConfig {
        super_digest: config.super_digest.as_ref().map(|secret| secret.0.clone()),
        digest_enabled: config.digest_auth_enabled,
        skip_acl: config.skip_acl,
        sasl: config.sasl.exchange.clone(),
        sasl_acls: config.sasl.acls,
        any_sasl_user: config.sasl.any_user.clone(),
        keeps_sasl_failed: config.sasl.keeps_failed,
        enforced: config.sasl.enforced.clone(),
    };
    let seeds = chance::seeds()?;
    let audit = config.audit.as_ref().map(|audit| AuditLog::start(audit, Host::ask().user)).transpose()?;
    let (recovered, membership) = match &config.ensemble {
        None => (recover::recover(&dir, config, auth.clone(), seeds, clock)?, None),
        Some(ensemble) => {
            let (mut recovered, joining) = recover::recover_member(&dir, config, auth.clone(), seeds, clock)?;
            recovered.restored.show_configuration(&ensemble.members(), clock.now().wall);
            (recovered, Some(Membership { ensemble, joining }))
        }
    };
    let zxid = recovered.restored.last;
    let backlog = config.listen_backlog.map_or(1024, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX));
    socket.listen(backlog).map_err(|error| format!("cannot listen: {error}"))?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().map_err(|error| format!("cannot tell the listener's address: {error}"))?;
    let metrics = metrics
        .map(|(socket, address)| {
            socket.listen(128).map_err(|error| format!("cannot listen on {address}: {error}"))?;
            tell(&format!("metrics are at http://{address}/metrics"));
            Ok::<_, Failed>(TcpListener::from(socket))
        })
        .transpose()?;
    let plan = plan(&Cores::of_this_process(), config.shards, config.sequencer_placement, config.pin);
    let running =
        start(config, &plan, &dir, (recovered, membership), auth, seeds, clock, (listener, address, metrics), audit, orderly)?;
    let title = membership::title(config);
    tell(&format!("ready: {} {title}, {} shard(s), zxid {zxid}", shown(config, address), plan.shards));
    if let Some((audit, _)) = &running.audit {
        audit.of_server("serverStart", Verdict::Success);
    }
    let (common, doorway) = (Arc::clone(&running.common), Arc::clone(&running.doorway));
    let mut reload = Reload {
        request,
        effective,
        method: flush_method(config),
        sessions: config.throttles.sessions,
        shards: u16::try_from(plan.shards).unwrap_or(u16::MAX),
        common,
        doorway,
        set_level,
    };
    watch(&orders, &running.heartbeats, &mut reload);
    stop(running);
    Ok(())
}

/// One line for whoever started the server, if they still listen.
pub(super) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The address as configured, with the port that was bound.
fn shown(config: &ServerConfig, address: SocketAddr) -> SocketAddr {
    SocketAddr::new(config.client_addr.ip(), address.port())
}

#[expect(clippy::too_many_arguments, reason = "every part of the house meets here, once")]
fn start(
    config: &ServerConfig,
    plan: &Plan,
    dir: &LogDir,
    (recovered, membership): (Recovered, Option<Membership<'_>>),
    auth: AuthConfig,
    seeds: [u64; 4],
    clock: Clock,
    (listener, address, metrics): (TcpListener, SocketAddr, Option<TcpListener>),
    audit: Option<(Arc<AuditLog>, AuditThread)>,
    orders: Sender<Order>,
) -> Result<Running, Failed> {
    let now = clock.now();
    let Recovered { restored, position, spares, segments, cabinet, pool, mut since } = recovered;
    let zxid = restored.last;
    // One a shard, and the archivist's.
    let mut views = archive::views(restored.ledger.tree().view(), plan.shards + 1);
    let (mut sequencer_port, shard_ports) = mesh::mesh(plan.shards, zxid);
    let archivist = views.pop().map(|view| archive::archivist(config, &mut since, view, zxid, seeds[0] ^ now.micros));
    let archivist = archivist.expect("one more than shards were made");
    let common = Arc::clone(sequencer_port.common());
    let preparer_config = PreparerConfig {
        dir: dir.path().to_owned(),
        segment_size: config.segment_bytes,
        server: config.my_id,
        pool: Arc::clone(&pool),
        warn_bytes: if config.log_warn_bytes == 0 { u64::MAX } else { config.log_warn_bytes },
    };
    let preparer = Preparer::start(preparer_config, position.segment.number, spares, clock, Arc::clone(&common))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let keeper_config = KeeperConfig {
        dir: dir.path().to_owned(),
        images: config.data_dir.join(recover::IMAGES),
        policy: config.retain,
        scrub: (config.scrub_interval_s > 0).then(|| Duration::from_secs(config.scrub_interval_s)),
        is_flushed: config.flush.method != Configured::None,
        pool,
    };
    let (keeper, keeper_thread) =
        KeeperThread::start(keeper_config, cabinet, segments, since.image, std::mem::take(&mut since.damaged))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
    let images = since.dir.clone();
    let (feed, archivist) = ArchivistThread::start(archivist, since.dir, keeper.clone(), clock)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    sequencer_port.feed(feed);
    let knobs = flush_knobs(config);
    let ids = Ids::starting(now.wall.0.unsigned_abs(), ServerId(config.session_server_id));
    let shards = u16::try_from(plan.shards).map_err(|_| "more shards than can be counted".to_owned())?;
    // An image is durable, also where the log is not flushed and has lost its end.
    let engine = Sequencer::new(restored, ids, Appender::new(position, since.image), knobs, shards, now);
    let engine = engine.with_lifetimes(config.lifetimes, now).enforcing_quotas(config.enforce_quota);
    let engine = engine.throttling(config.throttles.sessions, seeds, now);
    let is_member = membership.is_some();
    let (engine, member) = match membership {
        None => (engine, None),
        Some(membership) => {
            let (places, rules) = ((dir.path(), images), (auth.clone(), seeds));
            let (engine, member) = membership.enter(engine, config, places, rules, (clock, now), Arc::clone(&common))?;
            (engine, Some(member))
        }
    };
    let mut sequencer = Some(SequencerSetup {
        engine,
        port: sequencer_port,
        dir: dir.path().to_owned(),
        segment: position.segment.number,
        preparer,
        keeper,
        flush: flush_orders(config),
        clock,
        member,
    });
    let doorway = Arc::new(Doorway::new(plan.shards, config.max_client_cnxns as usize, config.max_cnxns as usize));
    let inboxes: Vec<_> = (0..plan.shards).map(|_| Arc::new(Inbox::default())).collect();
    let words: Arc<dyn Words> =
        Arc::new(Spoken(Admin::new(facts(config, dir.path(), address, &doorway)).reloading(move || ordered(&orders))));
    let executors_count = plan.shards + usize::from(plan.sequencer == Placed::Own);
    let io_memory = cores::io_memory(config.io_memory_bytes, executors_count, rustix::process::geteuid().is_root());
    let small_pages = SmallPages::begin();
    let spin = Duration::from_micros(config.spin_micros);
    let mut executors = Vec::new();
    let mut heartbeats = Vec::new();
    for (i, port) in shard_ports.into_iter().enumerate() {
        let shard_config = ShardConfig {
            id: ShardId(u16::try_from(i).expect("shards are counted in u16")),
            frame_max: config.jute_maxbuffer,
            flow: config.throttles.share_of(shards),
            min_timeout_ms: clamp(config.min_session_timeout_ms),
            max_timeout_ms: clamp(config.max_session_timeout_ms),
            sessionless_ms: config.sessionless_timeout_ms,
            tick_ms: u64::from(config.tick_time_ms),
            auth: auth.clone(),
            is_member,
            words: Arc::clone(&words),
            audit: audit.as_ref().map(|(log, _)| Arc::clone(log) as Arc<dyn Audit>),
        };
        let view = views.pop().expect("one for each shard was made");
        let shard = Shard::new(shard_config, view, zxid, seeds, now);
        let setup = ShardSetup { shard, port, inbox: Arc::clone(&inboxes[i]), doorway: Arc::clone(&doorway), clock };
        let shared = if i == 0 && plan.sequencer == Placed::SharedWithShard0 { sequencer.take() } else { None };
        let heartbeat = Heartbeat::default();
        heartbeats.push(heartbeat.clone());
        let pin = plan.pins.as_ref().map(|pins| pins.shards[i]);
        let name = format!("rk-shard-{i}");
        executors.push(executor(&name, pin, io_memory, spin, heartbeat, Some(setup), shared)?);
    }
    if let Some(setup) = sequencer {
        let heartbeat = Heartbeat::default();
        heartbeats.push(heartbeat.clone());
        let pin = plan.pins.as_ref().map(|pins| pins.sequencer);
        executors.push(executor("rk-sequencer", pin, io_memory, spin, heartbeat, None, Some(setup))?);
    }
    drop(small_pages);
    if let Some(line) = cores::short_of_memory(config.io_memory_bytes, executors_count) {
        tracing::warn!("{line}");
    }
    let no_acceptor = |error: std::io::Error| format!("cannot accept clients: {error}");
    let collectors = metrics
        .map(|listener| Acceptor::start(listener, Guest::Collector, Arc::clone(&doorway), inboxes.clone(), Arc::clone(&common)))
        .transpose()
        .map_err(no_acceptor)?;
    let acceptor =
        Acceptor::start(listener, Guest::Client, Arc::clone(&doorway), inboxes, Arc::clone(&common)).map_err(no_acceptor)?;
    Ok(Running {
        executors,
        heartbeats,
        acceptor,
        collectors,
        archivist,
        common,
        doorway,
        keeper: keeper_thread,
        is_member,
        audit,
    })
}

/// Starts one executor with its tick and the loops that live there.
fn executor(
    name: &str,
    pin: Option<usize>,
    io_memory: usize,
    spin: Duration,
    heartbeat: Heartbeat,
    shard: Option<ShardSetup>,
    sequencer: Option<SequencerSetup>,
) -> Result<Executor, Failed> {
    let main = move || async move {
        let tick = Tick::default();
        let mates = Rc::new(Mates { has_sequencer: sequencer.is_some(), has_shard: shard.is_some(), ..Mates::default() });
        // Ends with the executor.
        drop(cores::spawn(tick.clone().run(heartbeat)));
        let sequencer = sequencer.map(|setup| cores::spawn(sequencer_loop::run(setup, tick.clone(), Rc::clone(&mates))));
        if let Some(setup) = shard {
            shard_loop::run(setup, tick, mates, spin.is_zero()).await;
        }
        if let Some(sequencer) = sequencer {
            sequencer.await;
        }
    };
    cores::start(name, pin, io_memory, spin, main).map_err(|error| error.to_string())
}

/// The admin words at the engine's door.
struct Spoken(Admin);

impl Words for Spoken {
    fn allows(&self, word: Word) -> bool {
        self.0.allowed(word)
    }

    fn refusal(&self, name: &str) -> String {
        Admin::refusal(name)
    }

    fn trace_mask(&self, set: Option<i64>) -> i64 {
        self.0.trace_mask(set)
    }

    fn answer(&self, word: Word, census: Option<&Census>) -> String {
        self.0.answer(word, census)
    }

    fn metrics(&self, census: &Census) -> String {
        self.0.metrics(census)
    }
}

fn facts(config: &ServerConfig, log_dir: &Path, address: SocketAddr, doorway: &Doorway) -> Facts {
    Facts {
        version: Host::version(),
        client_port: address.port(),
        secure_client_port: None,
        data_dir: config.data_dir.clone(),
        data_log_dir: log_dir.to_owned(),
        tick_time_ms: config.tick_time_ms,
        max_client_cnxns: doorway.per_address(),
        min_session_timeout_ms: config.min_session_timeout_ms,
        max_session_timeout_ms: config.max_session_timeout_ms,
        listen_backlog: config.listen_backlog.map_or(-1, clamp),
        server_id: config.conf_server_id,
        whitelist: config.four_letter_words.to_string(),
        read_only_enabled: config.readonlymode,
        host: Host::ask(),
        ensemble: config.ensemble.as_ref().map(membership::facts),
    }
}

fn clamp(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Binds the client port; it listens only when the server is ready, so that nobody waits in its queue meanwhile.
fn bind(config: &ServerConfig) -> Result<Socket, Failed> {
    let dual = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), config.client_addr.port());
    if config.client_dual_stack
        && let Ok(socket) = bind_to(dual, config)
    {
        return Ok(socket);
    }
    bind_to(config.client_addr, config).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{} is in use; another server may be running: stop it or choose another port", config.client_addr)
        }
        _ => format!("cannot bind {}: {error}", config.client_addr),
    })
}

/// Binds the port for those who collect metrics, and yields where it is.
fn bind_metrics(address: SocketAddr, config: &ServerConfig) -> Result<(Socket, SocketAddr), Failed> {
    let bound = bind_to(address, config).and_then(|socket| {
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, address))
    });
    bound.map_err(|error| {
        format!("cannot bind {address} for metrics (metricsProvider.httpHost, metricsProvider.httpPort): {error}")
    })
}

fn bind_to(address: SocketAddr, config: &ServerConfig) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!config.client_dual_stack)?;
    }
    // Accepted sockets inherit it.
    socket.set_keepalive(config.tcp_keepalive)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Watches over the executors until an order comes that ends the server, and carries out the others.
fn watch(orders: &Receiver<Order>, heartbeats: &[Heartbeat], reload: &mut Reload) {
    let mut seen: Vec<_> = heartbeats.iter().map(|heartbeat| (heartbeat.beats(), 0)).collect();
    loop {
        match orders.recv_timeout(Duration::from_secs(1)) {
            Ok(Order::Reload(asked)) => {
                let told = reload.run();
                if let Some(asked) = asked {
                    // Whoever asked may have gone on.
                    let _ = asked.try_send(told);
                }
                continue;
            }
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        for (i, (heartbeat, (beats, silent))) in heartbeats.iter().zip(&mut seen).enumerate() {
            let now = heartbeat.beats();
            *silent = if now == *beats { *silent + 1 } else { 0 };
            *beats = now;
            if *silent == SILENCE_TOLD {
                tracing::error!("executor {i} has not moved for {SILENCE_TOLD} s");
            }
            if *silent >= SILENCE_FATAL {
                sequencer_loop::fatal(&format!(
                    "executor {i} has not moved for {SILENCE_FATAL} s: stopping, acknowledged data is intact"
                ));
            }
        }
    }
}

/// Stops accepting, lets clients have their answers, makes the log's end durable.
fn stop(running: Running) {
    let Running { executors, acceptor, collectors, archivist, common, keeper, is_member, audit, .. } = running;
    if let Some((log, _)) = &audit {
        log.of_server("serverStop", Verdict::Invoked);
    }
    let deadline = Instant::now() + STOP_WITHIN;
    acceptor.stop();
    if let Some(collectors) = collectors {
        collectors.stop();
    }
    if is_member {
        common.leave();
        let until = Instant::now() + LEAVE_WITHIN;
        while !common.has_left() && Instant::now() < until {
            std::thread::sleep(LEAVE_LOOK);
        }
    }
    archivist.begin_stop();
    common.stop();
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        for executor in executors {
            if let Err(error) = executor.join() {
                tracing::error!("an executor ended badly: {error}");
            }
        }
        archivist.stop();
        keeper.stop();
        if let Some((_, thread)) = audit {
            thread.stop();
        }
        // Nobody listens any more where the deadline has passed.
        let _ = done.send(());
    });
    if finished.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
        tracing::warn!("not everybody took their answers in time; everything acknowledged is durable");
    }
}

/// A panic anywhere is a broken invariant: the process ends, and recovers from its log when it is started again.
fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        std::process::abort();
    }));
}
