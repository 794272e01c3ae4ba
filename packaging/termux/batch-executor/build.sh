# The recipe for Termux's packages: `packages/batch-executor/build.sh` there. Before it is handed in, put the address of the released
# source in the place of SOURCE-ADDRESS, and its SHA-256 in the place of the zeros; there is no release yet.
# shellcheck shell=bash disable=SC2034
TERMUX_PKG_HOMEPAGE=https://SOURCE-ADDRESS/batch-executor
TERMUX_PKG_DESCRIPTION="A persistent job daemon with a SQLite queue: goes on after a crash, a reboot, or Android's killing of the app"
TERMUX_PKG_LICENSE="MIT, Apache-2.0"
TERMUX_PKG_LICENSE_FILE="LICENSE-MIT, LICENSE-APACHE"
TERMUX_PKG_MAINTAINER="@termux"
TERMUX_PKG_VERSION="0.1.0"
TERMUX_PKG_SRCURL=https://SOURCE-ADDRESS/batch-executor/archive/refs/tags/v${TERMUX_PKG_VERSION}.tar.gz
TERMUX_PKG_SHA256=0000000000000000000000000000000000000000000000000000000000000000
TERMUX_PKG_SUGGESTS="nodejs, python, termux-services"
TERMUX_PKG_BUILD_IN_SRC=true
TERMUX_PKG_AUTO_UPDATE=true
TERMUX_PKG_SERVICE_SCRIPT=("batch-executor" 'exec batch-executor daemon 2>&1')

# What the installed program writes, for it cannot run where it is built.
_batch_executor_completions="
bash share/bash-completion/completions/batch-executor
fish share/fish/vendor_completions.d/batch-executor.fish
zsh share/zsh/site-functions/_batch-executor
"

termux_step_pre_configure() {
	termux_setup_rust
	cargo fetch --locked --target "$CARGO_TARGET_NAME"
}

termux_step_make() {
	cargo build --locked --release --jobs "$TERMUX_PKG_MAKE_PROCESSES" --target "$CARGO_TARGET_NAME"
}

termux_step_make_install() {
	install -Dm700 -t "$TERMUX_PREFIX/bin" "target/$CARGO_TARGET_NAME/release/batch-executor"
	install -Dm600 -t "$TERMUX_PREFIX/share/doc/batch-executor" README.md docs/guide.md docs/termux.md
}

termux_step_post_make_install() {
	local shell file
	# Empty here, so that the package owns them.
	while read -r shell file; do
		[ -n "$shell" ] || continue
		install -Dm600 /dev/null "$TERMUX_PREFIX/$file"
	done <<<"$_batch_executor_completions"
}

termux_step_create_debscripts() {
	local shell file
	{
		echo "#!$TERMUX_PREFIX/bin/sh"
		while read -r shell file; do
			[ -n "$shell" ] || continue
			echo "batch-executor completions $shell >$TERMUX_PREFIX/$file"
		done <<<"$_batch_executor_completions"
		# A daemon that runs goes on as the new program, under its tasks; without one there is nothing to do.
		echo "batch-executor --no-autostart daemon restart >/dev/null 2>&1 || true"
	} >postinst
	if [ "$TERMUX_PACKAGE_FORMAT" = "pacman" ]; then
		echo "post_install" >postupg
	fi
}
