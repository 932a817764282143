//! Apply: writes a setting into a configuration, and tells the server that runs by it.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::knobs::Knobs;
use super::trial::PATIENCE;
use crate::client::word;
use crate::server::config::reader::{Request, read};
use crate::server::in_use::worker_of;
use crate::server::recover::LOG;
use crate::tune::Failed;

/// The text with the setting in place of what it said of it: where that first was, or at its end.
fn changed(text: &str, knobs: &Knobs, title: &str) -> String {
    let lines = knobs.lines();
    let keys: Vec<&str> = lines.iter().filter_map(|line| line.split('=').next()).collect();
    let says = |line: &str| {
        let name = line.trim_start().split(['=', ':', ' ', '\t']).next().unwrap_or_default();
        keys.contains(&name.strip_prefix("ringkeeper.").unwrap_or(name)) || line.starts_with(TITLE)
    };
    let block = format!("{TITLE}{title}\n{}\n", lines.join("\n"));
    let mut out = String::with_capacity(text.len() + block.len());
    let mut is_in = false;
    for line in text.lines() {
        if !says(line) {
            out.push_str(line);
            out.push('\n');
        } else if !is_in {
            out.push_str(&block);
            is_in = true;
        }
    }
    if !is_in {
        // A backslash at the end of a file would take the next line for its own.
        if out.ends_with("\\\n") {
            out.push('\n');
        }
        out.push_str(&block);
    }
    out
}

/// What the comment above the setting begins with.
const TITLE: &str = "# ringkeeper tune flush: ";

/// Writes it, durably and in one step, once it has been read back as what it is to say.
pub fn write(config: &Path, knobs: &Knobs, title: &str) -> Result<(), Failed> {
    let failed = |what: &'static str| {
        let path = config.display().to_string();
        move |error: std::io::Error| Failed(format!("{path}: cannot {what}: {error}"))
    };
    let config = &config.canonicalize().map_err(failed("be found"))?;
    let text = fs::read_to_string(config).map_err(failed("be read"))?;
    let mode = fs::metadata(config).map_err(failed("be looked at"))?.permissions().mode();
    let dir = config.parent().unwrap_or_else(|| Path::new("/"));
    let name = config.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new = dir.join(format!(".{name}.{}", std::process::id()));
    let done = (|| {
        let mut file = fs::File::create_new(&new).map_err(failed("write beside it"))?;
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed("keep its mode"))?;
        file.write_all(changed(&text, knobs, title).as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed("write beside it"))?;
        let request = Request { config: Some(new.clone()), ..Request::default() };
        let loaded =
            read(&request).map_err(|error| Failed(format!("it would not be read any more: {error}: nothing is changed")))?;
        let flush = &loaded.config.flush;
        let is = (flush.method.to_string(), flush.flights, flush.linger_micros, flush.batch_bytes, flush.is_adaptive);
        if is != (knobs.method().to_owned(), knobs.flights, knobs.linger_us, knobs.batch_bytes, knobs.adaptive) {
            let config = config.display();
            return Err(Failed(format!("{config}: something else in it counts before these keys: nothing is changed")));
        }
        fs::rename(&new, config).map_err(failed("be replaced"))?;
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("be made durable"))
    })();
    if done.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&new);
    }
    done
}

/// Tells the server that runs by a configuration; says what came of it.
pub fn tell(config: &Path) -> Result<String, Failed> {
    let request = Request { config: Some(config.to_owned()), ..Request::default() };
    let loaded = read(&request).map_err(Failed::new)?;
    let data = &loaded.config.data_log_dir;
    let Some(pid) = worker_of(&data.join(LOG)) else {
        return Ok(format!("no server works in {}: in effect when one is started", data.display()));
    };
    let at = loaded.config.client_addr;
    let ip = if at.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { at.ip() };
    match word::ask(SocketAddr::new(ip, at.port()), "rlod", PATIENCE) {
        Ok(answer) if !answer.is_empty() && !answer.starts_with("rlod is not") => {
            Ok(format!("the server (process {pid}) says:\n{}", answer.trim_end()))
        }
        // It does not answer the word: the signal does the same, and its log tells.
        Ok(_) | Err(_) => {
            let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            let process = process.ok_or_else(|| Failed(format!("{pid} is no process")))?;
            rustix::process::kill_process(process, rustix::process::Signal::HUP)
                .map_err(|error| Failed(format!("the server, process {pid}, cannot be told: {error}; kill -HUP {pid}")))?;
            Ok(format!("the server (process {pid}) was sent SIGHUP: its log tells of each key"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::knobs::DEFAULT;
    use super::*;

    const KNOBS: Knobs = Knobs { fdatasync: true, flights: 2, linger_us: 0, batch_bytes: 65536, adaptive: false };

    #[test]
    fn keys_are_replaced_where_they_were_and_nothing_else_is() {
        let block = "# ringkeeper tune flush: why\nflush.method=fdatasync\nflush.mode=fixed\nflush.flights=2\nflush.lingerMicros=0\nflush.batchBytes=65536\n";
        let text =
            "tickTime=2000\nflush.flights = 4\n# flush.flights=9\nringkeeper.flush.mode:adaptive\nflush.flightsX=1\nclientPort=1";
        let once = changed(text, &KNOBS, "why");
        assert_eq!(once, format!("tickTime=2000\n{block}# flush.flights=9\nflush.flightsX=1\nclientPort=1\n"));
        assert_eq!(changed(&once, &KNOBS, "why"), once, "again makes no difference");
        assert_eq!(changed("a=b", &KNOBS, "why"), format!("a=b\n{block}"));
        assert_eq!(changed("a=b\\", &KNOBS, "why"), format!("a=b\\\n\n{block}"));
    }

    #[test]
    fn a_file_is_changed_in_one_step_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("zoo.cfg");
        let text = format!("dataDir={}\nclientPort=2181\n", dir.path().display());
        fs::write(&config, &text).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
        write(&config, &KNOBS, "why").unwrap();
        assert!(fs::read_to_string(&config).unwrap().contains("flush.method=fdatasync\n"));
        assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(tell(&config).unwrap().contains("in effect when one is started"));
        fs::write(&config, "clientPort=many\n").unwrap();
        let told = write(&config, &DEFAULT, "why").unwrap_err().0;
        assert!(told.contains("clientPort=many") && told.ends_with("nothing is changed"), "{told}");
        assert_eq!(fs::read_to_string(&config).unwrap(), "clientPort=many\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(write(&dir.path().join("none.cfg"), &DEFAULT, "why").unwrap_err().0.contains("none.cfg: cannot be found"));
    }
}
