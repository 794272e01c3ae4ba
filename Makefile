# The targets that people and CI use. `make test` sets up what the tests need.
.PHONY: build test lint setup next android agents torture bench bench-quick deny fuzz sbom dist deb static archive packages ci-full clean

TARGET := $(or $(CARGO_TARGET_DIR),target)

build:
	cargo build --release

# Installs what the tests need when root and something lacks, else names it.
setup:
	@tests/setup.sh

# A second program that says it is newer, for the tests of an upgrade.
next:
	cargo build --features failpoints,next
	mkdir -p $(TARGET)/next
	cp $(TARGET)/debug/batch-executor $(TARGET)/next/

test: setup next
	cargo test --no-fail-fast --features failpoints --all-targets
	cargo test --doc

# The agents' server, driven by the protocol's Python SDK: the current one, and the one of the older revisions; and the metrics,
# read by Prometheus' own parser.
agents: build $(TARGET)/agents/modern $(TARGET)/agents/legacy
	$(TARGET)/agents/modern/bin/python tests/agents/scenarios.py $(TARGET)/release/batch-executor
	$(TARGET)/agents/modern/bin/python tests/agents/metrics.py $(TARGET)/release/batch-executor
	$(TARGET)/agents/legacy/bin/python tests/agents/scenarios.py $(TARGET)/release/batch-executor

$(TARGET)/agents/%: tests/agents/%.txt
	python3 -m venv --clear $@
	$@/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

lint:
	cargo fmt --check
	cargo clippy --all-targets --features failpoints -- -D warnings
	cargo clippy --lib --bins -- -D warnings
	cargo check --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

# Whether the program compiles for Termux, as far as that can be told here.
android:
	packaging/termux/check --all-features

# Everything dies, as often as it takes; the seed is printed, TORTURE_SEED=N repeats its choices.
torture: setup next build
	TORTURE=full cargo test --features failpoints --test torture --test power_loss --test queue_migrations \
		--test fuzz --test upgrade -- --nocapture --test-threads=1
	$(TARGET)/release/batch-executor selftest --cycles 300

# What may come into the program (deny.toml), by the tool that takes minutes to build, into target/tools; `make test` holds
# the same lists against `cargo metadata` (tests/dependencies.rs).
deny: target/tools/bin/cargo-deny
	target/tools/bin/cargo-deny --all-features check bans licenses sources

# What is in the program: each crate with version, licence and hash (CycloneDX).
DIST := target/dist
sbom: target/tools/bin/cargo-cyclonedx
	mkdir -p $(DIST)
	target/tools/bin/cargo-cyclonedx cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --override-filename batch-executor.cdx
	sed 's,path+file://[^\#]*\#,,' batch-executor.cdx.json >$(DIST)/batch-executor.cdx.json
	rm batch-executor.cdx.json

target/tools/bin/cargo-%:
	cargo install cargo-$* --locked --root target/tools

# What goes into packages beside the program, made by the program.
dist: build sbom
	rm -rf $(DIST)/man $(DIST)/completions $(DIST)/systemd
	mkdir -p $(DIST)/completions $(DIST)/systemd
	$(TARGET)/release/batch-executor man $(DIST)/man
	for shell in bash:batch-executor.bash zsh:_batch-executor fish:batch-executor.fish elvish:batch-executor.elv \
		powershell:_batch-executor.ps1; do \
		$(TARGET)/release/batch-executor completions $${shell%%:*} >$(DIST)/completions/$${shell#*:} || exit 1; \
	done
	sed 's,%h/.cargo/bin/,/usr/bin/,' systemd/batch-executor.service >$(DIST)/systemd/batch-executor.service

# A package for Debian and Ubuntu, in target/dist.
deb: dist target/tools/bin/cargo-deb
	rm -f $(DIST)/*.deb
	target/tools/bin/cargo-deb --no-build --output $(DIST)/

# A program that needs no library of the system. Recipes for musl and Android: docs/packaging.md.
STATIC := x86_64-unknown-linux-gnu
static:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target $(STATIC)

# The static program with what goes beside it, named as cargo-binstall looks for it.
ARCHIVE = batch-executor-$(STATIC)-v$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
archive: static dist
	rm -rf $(DIST)/$(ARCHIVE) $(DIST)/*.tgz
	mkdir -p $(DIST)/$(ARCHIVE)
	cp $(TARGET)/$(STATIC)/release/batch-executor LICENSE-* README.md CHANGELOG.md $(DIST)/batch-executor.cdx.json $(DIST)/$(ARCHIVE)/
	cp -r $(DIST)/man $(DIST)/completions systemd $(DIST)/$(ARCHIVE)/
	tar -czf $(DIST)/$(ARCHIVE).tgz --owner=0 --group=0 -C $(DIST) $(ARCHIVE)

# All of them as people get them, on a clean Debian and on an empty root (needs root).
packages: setup deb archive next
	@tests/setup.sh packages
	tests/packages/run.sh

# Each fuzz target for FUZZ_SECONDS (needs a nightly toolchain); `make test` runs them near their corpus without it.
FUZZ_SECONDS ?= 120
fuzz:
	command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	for target in request tasks config keeper logs; do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=16384 || exit 1; \
	done

# Every figure beside its floor. `bench` takes about three quarters of an hour, says so at its begin, and writes
# docs/benchmarks.md; `bench-quick` takes about two minutes and only shows.
bench: build
	python3 benches/bench.py --write

bench-quick: build
	python3 benches/bench.py --quick

# All of CI, cargo-deny, the packages, the torture, and the acceptance scenarios ten times on a quiet machine and three times beside two busy loops.
ci-full:
	.ci/run
	$(MAKE) deny
	$(MAKE) packages
	$(MAKE) torture
	@if [ -f ../shared/accept/seed.py ]; then \
		for i in 1 2 3 4 5 6 7 8 9 10; do python3 ../shared/accept/seed.py || exit 1; done; \
		(while :; do :; done) & one=$$!; (while :; do :; done) & two=$$!; \
		trap "kill $$one $$two" EXIT; \
		for i in 1 2 3; do python3 ../shared/accept/seed.py || exit 1; done; \
	fi

clean:
	cargo clean
