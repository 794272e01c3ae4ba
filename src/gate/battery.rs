//! Battery, charger and temperature: of Termux's own command, else of `/sys`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::command::Place;
use crate::platform;

/// What is known of the machine's power.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Power {
    pub percent: Option<f64>,
    pub plugged: Option<bool>,
    /// Of the battery, °C.
    pub temperature: Option<f64>,
}

/// What `termux-battery-status` says.
#[derive(Deserialize)]
struct Status {
    percentage: Option<f64>,
    plugged: Option<String>,
    temperature: Option<f64>,
}

/// Of this machine. Android shows apps nothing of it in `/sys`, but Termux asks the system for it.
pub(super) async fn power(place: Place<'_>) -> Power {
    if platform::is_termux()
        && let Some(status) = place.asked::<Status>(&["termux-battery-status"]).await
    {
        return Power {
            percent: status.percentage,
            plugged: status.plugged.map(|plugged| plugged != "UNPLUGGED"),
            temperature: status.temperature,
        };
    }
    supplies(Path::new("/sys/class/power_supply"))
}

/// The supplies of a folder (power_supply_class in the kernel's documentation).
fn supplies(folder: &Path) -> Power {
    let mut power = Power::default();
    let mut levels = Vec::new();
    for supply in entries(folder) {
        let says = |name: &str| fs::read_to_string(supply.join(name)).ok().map(|text| text.trim().to_owned());
        // A mouse's battery is none of the machine's.
        if says("scope").as_deref() == Some("Device") {
            continue;
        }
        let plugged = if says("type").as_deref() == Some("Battery") {
            levels.extend(says("capacity").and_then(|text| text.parse::<f64>().ok()));
            let celsius = says("temp").and_then(|text| text.parse::<f64>().ok()).map(|tenths| tenths / 10.0);
            power.temperature = power.temperature.into_iter().chain(celsius).reduce(f64::max);
            says("status").map(|status| matches!(status.as_str(), "Charging" | "Full"))
        } else {
            says("online").map(|online| online != "0")
        };
        power.plugged = power.plugged.into_iter().chain(plugged).reduce(|one, other| one || other);
    }
    power.percent = levels.into_iter().reduce(f64::min);
    power
}

/// The hottest of the thermal zones, °C.
pub(super) fn hottest_zone() -> Option<f64> {
    let zone = |path: PathBuf| {
        let thousandths: f64 = fs::read_to_string(path.join("temp")).ok()?.trim().parse().ok()?;
        Some(thousandths / 1000.0).filter(|celsius| *celsius > 0.0)
    };
    let zones = entries(Path::new("/sys/class/thermal"));
    zones.filter(|path| path.to_string_lossy().contains("thermal_zone")).filter_map(zone).reduce(f64::max)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_from_its_mouse() {
        let folder = tempfile::tempdir().expect("a folder");
        let supply = |name: &str, files: &[(&str, &str)]| {
            fs::create_dir(folder.path().join(name)).expect("a supply");
            for (file, text) in files {
                fs::write(folder.path().join(name).join(file), text).expect("written");
            }
        };
        assert_eq!(supplies(folder.path()), Power::default());
        supply(
            "hidpp",
            &[("type", "Battery\n"), ("scope", "Device\n"), ("capacity", "5\n"), ("status", "Discharging\n")],
        );
        supply("BAT0", &[("type", "Battery\n"), ("capacity", "64\n"), ("status", "Discharging\n"), ("temp", "312\n")]);
        let unplugged = Power { percent: Some(64.0), plugged: Some(false), temperature: Some(31.2) };
        assert_eq!(supplies(folder.path()), unplugged);
        supply("AC", &[("type", "Mains\n"), ("online", "1\n")]);
        assert_eq!(supplies(folder.path()), Power { plugged: Some(true), ..unplugged });
    }
}
