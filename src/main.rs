//! The one binary and its command line: every subcommand is a door to the house.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use ringkeeper::bench::command::Bench;
use ringkeeper::cli::image::Image;
use ringkeeper::cli::log::Log;
use ringkeeper::cli::recover::Recover;
use ringkeeper::cli::serve::Serve;
use ringkeeper::cli::shell::Shell;
use ringkeeper::cli::sim::Sim;
use ringkeeper::cli::top::Top;
use ringkeeper::migrate::command::Migrate;
use ringkeeper::recipes::{Elect, Lock, Watch};
use ringkeeper::tune::Tune;
use ringkeeper::tune::doctor::Doctor;

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!("{} (ZooKeeper 3.9 client protocol, {arch}-{os}, {build} build)", env!("CARGO_PKG_VERSION"))
});

/// A coordination server for ZooKeeper clients.
#[derive(Parser, Debug)]
#[command(
    name = "ringkeeper",
    version = VERSION.as_str(),
    disable_help_subcommand = true,
    arg_required_else_help = true,
    long_about = "A coordination server for ZooKeeper clients: thread per core on io_uring, every acknowledged write on \
disk.\n\nIt reads the zoo.cfg you have. To try it:\n\n  ringkeeper serve              on 127.0.0.1:2181, data in ./ringkeeper-data\n  \
ringkeeper serve --help       everything that can be set\n  ringkeeper bench run          how long do \
clients wait for it?\n  ringkeeper log --help         read a server's log\n  ringkeeper image --help       read its \
images\n  ringkeeper migrate --help     \
move here from a ZooKeeper server, or back\n  ringkeeper recover --help     an ensemble has lost its majority for good\n  \
ringkeeper cli --help         read and change the tree of any ZooKeeper server\n  \
ringkeeper top --help         what does a server do now, and where does the time go?\n  \
ringkeeper doctor             what of this machine is in its way?\n  \
ringkeeper tune disk          what does a durable write cost on this drive?\n  ringkeeper lock --help        run a command under a lock; elect, watch: as a leader, at each change\n\nExit codes: 0 stopped when told to, 1 could not start or had to stop, 2 wrong usage."
)]
struct Ringkeeper {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(Serve),
    Bench(Box<Bench>),
    Log(Log),
    Image(Image),
    Migrate(Migrate),
    Recover(Recover),
    Sim(Sim),
    Top(Top),
    Doctor(Doctor),
    Tune(Tune),
    Cli(Shell),
    Lock(Lock),
    Elect(Elect),
    Watch(Watch),
}

fn main() -> ExitCode {
    match Ringkeeper::parse().command {
        Command::Serve(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Log(command) => command.run(),
        Command::Image(command) => command.run(),
        Command::Migrate(command) => command.run(),
        Command::Recover(command) => command.run(),
        Command::Sim(command) => command.run(),
        Command::Top(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Tune(command) => command.run(),
        Command::Cli(command) => command.run(),
        Command::Lock(command) => command.run(),
        Command::Elect(command) => command.run(),
        Command::Watch(command) => command.run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Serve, clap::error::ErrorKind> {
        match Ringkeeper::try_parse_from(line.split(' ')) {
            Ok(Ringkeeper { command: Command::Serve(serve) }) => Ok(serve),
            Ok(other) => panic!("{line} is no serve but {other:?}"),
            Err(e) => Err(e.kind()),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Ringkeeper::command().debug_assert();
    }

    #[test]
    fn serve_takes_what_it_says() {
        let got = parse(
            "ringkeeper serve zoo.cfg -Dzookeeper.a=b=c -D x=y -Dflag --data-dir /d --listen [::1]:2181 --shards 4 --strict --check",
        );
        let got = got.unwrap();
        let request = got.request();
        let pairs: Vec<_> = request.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("zookeeper.a", "b=c"), ("x", "y"), ("flag", "")]);
        assert_eq!(request.config.as_deref(), Some(std::path::Path::new("zoo.cfg")));
        assert_eq!(request.overrides.data_dir.as_deref(), Some(std::path::Path::new("/d")));
        assert_eq!((request.overrides.listen.as_deref(), request.overrides.shards), (Some("[::1]:2181"), Some(4)));
        assert!(request.strict);
        assert!(parse("ringkeeper serve").is_ok());
    }

    #[test]
    fn wrong_usage_is_told_apart() {
        use clap::error::ErrorKind;
        let cases = [
            ("ringkeeper", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("ringkeeper clients", ErrorKind::InvalidSubcommand),
            ("ringkeeper cli --server a:0", ErrorKind::ValueValidation),
            ("ringkeeper lock /a", ErrorKind::MissingRequiredArgument),
            ("ringkeeper help", ErrorKind::InvalidSubcommand),
            ("ringkeeper serve a b", ErrorKind::UnknownArgument),
            ("ringkeeper serve --shards many", ErrorKind::ValueValidation),
            ("ringkeeper serve --shards 1025", ErrorKind::ValueValidation),
            ("ringkeeper serve -D =x", ErrorKind::ValueValidation),
            ("ringkeeper --version", ErrorKind::DisplayVersion),
            ("ringkeeper serve --help", ErrorKind::DisplayHelp),
            ("ringkeeper log", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("ringkeeper log dump", ErrorKind::MissingRequiredArgument),
            ("ringkeeper log dump d --from x", ErrorKind::ValueValidation),
            ("ringkeeper log dump d --data base64", ErrorKind::InvalidValue),
            ("ringkeeper log stats d --top 0", ErrorKind::ValueValidation),
            ("ringkeeper image", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("ringkeeper image compare a", ErrorKind::MissingRequiredArgument),
            ("ringkeeper image top d 0", ErrorKind::ValueValidation),
            ("ringkeeper recover zoo.cfg --beyond-epoch x", ErrorKind::ValueValidation),
            ("ringkeeper recover", ErrorKind::MissingRequiredArgument),
            ("ringkeeper sim --seed x", ErrorKind::ValueValidation),
            ("ringkeeper sim --seeds 5..3", ErrorKind::ValueValidation),
            ("ringkeeper sim --seed 1 --seeds 1..2", ErrorKind::ArgumentConflict),
            ("ringkeeper log verify --help", ErrorKind::DisplayHelp),
        ];
        for (line, kind) in cases {
            assert_eq!(parse(line).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn help_teaches_every_key_of_ours() {
        use ringkeeper::server::config::table::TABLE;
        let help = Ringkeeper::command().find_subcommand_mut("serve").unwrap().render_long_help().to_string();
        for key in TABLE.iter().filter(|k| k.ours) {
            let row = help.lines().find(|l| l.trim_start().starts_with(&format!("{} ", key.name)));
            let row = row.unwrap_or_else(|| panic!("{} is not in the help", key.name));
            let default = if key.default.is_empty() { "none" } else { key.default };
            assert!(row.split_whitespace().any(|word| word == default), "the help has another default: {row}");
        }
        assert!(VERSION.starts_with("0."));
    }
}
