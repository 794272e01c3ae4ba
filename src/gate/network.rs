//! Whether there is a network, and whether its traffic is paid for.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::Reading;
use crate::command::Place;
use crate::platform;

/// The kernel's flags of a route: it is usable (route(8)).
const UP: u32 = 1;

/// `unmetered`: one whose traffic is paid for does not count.
pub(super) async fn network(unmetered: bool, place: Place<'_>) -> Reading {
    if platform::is_termux() {
        return of_a_phone(unmetered, place).await;
    }
    let interfaces = match default_interfaces(Path::new("/proc/net")) {
        Ok(interfaces) => interfaces,
        Err(error) => return Reading::Unknown(format!("the routes in /proc/net cannot be read: {error}")),
    };
    if interfaces.is_empty() {
        return Reading::No("no network: there is no default route".to_owned());
    }
    for interface in &interfaces {
        if !unmetered || !is_metered(interface, place).await {
            return Reading::Yes;
        }
    }
    Reading::No(format!("only a metered network ({})", interfaces.join(", ")))
}

/// What `termux-wifi-connectioninfo` and `termux-telephony-deviceinfo` say.
#[derive(Deserialize)]
struct Wifi {
    supplicant_state: Option<String>,
}

#[derive(Deserialize)]
struct Telephony {
    data_state: Option<String>,
}

/// Android hides the routes. Wi-Fi counts as unmetered: whether it is another phone's is not told.
async fn of_a_phone(unmetered: bool, place: Place<'_>) -> Reading {
    let Some(wifi) = place.asked::<Wifi>(&["termux-wifi-connectioninfo"]).await else {
        return Reading::Unknown("`termux-wifi-connectioninfo` does not answer: install Termux:API".to_owned());
    };
    if wifi.supplicant_state.as_deref() == Some("COMPLETED") {
        return Reading::Yes;
    }
    if unmetered {
        return Reading::No("not on Wi-Fi".to_owned());
    }
    match place.asked::<Telephony>(&["termux-telephony-deviceinfo"]).await.and_then(|phone| phone.data_state) {
        Some(state) if state == "connected" => Reading::Yes,
        _ => Reading::No("no network".to_owned()),
    }
}

/// The interfaces with a default route (proc_net(5)).
fn default_interfaces(proc_net: &Path) -> std::io::Result<Vec<String>> {
    let four = fs::read_to_string(proc_net.join("route"))?;
    // Interface, destination, gateway, flags, …
    let mut found: Vec<String> = four
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let up = u32::from_str_radix(words.get(3)?, 16).ok()? & UP != 0;
            (up && words[1] == "00000000").then(|| words[0].to_owned())
        })
        .collect();
    // Destination, its prefix, …, the flags, the interface.
    let six = fs::read_to_string(proc_net.join("ipv6_route")).unwrap_or_default();
    found.extend(six.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let up = u32::from_str_radix(words.get(8)?, 16).ok()? & UP != 0;
        let default = words[0].bytes().all(|digit| digit == b'0') && words[1] == "00";
        (up && default && words.get(9)? != &"lo").then(|| words[9].to_owned())
    }));
    found.sort();
    found.dedup();
    Ok(found)
}

/// As `NetworkManager` says; where it is not asked, modems are.
async fn is_metered(interface: &str, place: Place<'_>) -> bool {
    match place.said(&["nmcli", "-g", "GENERAL.METERED", "device", "show", interface]).await {
        Some(metered) if !metered.trim().is_empty() => metered.starts_with("yes"),
        _ => {
            let event = fs::read_to_string(format!("/sys/class/net/{interface}/uevent")).unwrap_or_default();
            event.contains("DEVTYPE=wwan") || ["ppp", "wwan"].iter().any(|kind| interface.starts_with(kind))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let route = "Iface\tDestination\tGateway\tFlags\n\
            eth0\t0000A8C0\t00000000\t0001\n\
            wlan0\t00000000\t0100A8C0\t0003\n\
            ppp0\t00000000\t0100A8C0\t0000\n";
        fs::write(folder.path().join("route"), route).expect("written");
        let zeros = "0".repeat(32);
        let six = format!(
            "{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 00000003 eth1\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n"
        );
        fs::write(folder.path().join("ipv6_route"), six).expect("written");
        assert_eq!(default_interfaces(folder.path()).expect("read"), ["eth1", "wlan0"]);
    }
}
