# Every target installs what it needs first. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo spaces cluster test test-quick test-janus fuzz players faults recording-hour abuse check bench
.PHONY: build dist test-dist test-image lint-dist sdk docs

BROWSER := tests/browser
BROWSER_READY := $(if $(wildcard $(BROWSER)/package.json),$(BROWSER)/node_modules/.package-lock.json)

help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## A node with one room on air and a tone in it, checked by a listener; Ctrl-C ends it; TLS=1: https, for a phone
	@scripts/setup.sh demo
	@cargo run -- demo $(if $(TLS),--tls)

spaces: ## An example app: live conversations with stage, hands and chat, on a node of this checkout; Ctrl-C ends it
	@scripts/setup.sh spaces
	@cargo build
	@examples/spaces/run.sh

cluster: ## A small cluster on this machine with a room on air, for experiments and failure tests; Ctrl-C ends it
	@scripts/setup.sh test
	@cargo build
	@scripts/cluster.sh

# A test on real components spends most of its time waiting, so more tests run at once than there are processors.
TEST_THREADS := $(shell echo $$((2 * $$(nproc))))
SKIPPED := $(CURDIR)/target/skipped-tests.txt
test: export SKIPPED_TESTS = $(SKIPPED)
test: ## Installs and starts what the tests need, and runs them all
	@scripts/setup.sh test
	@rm -f $(SKIPPED)
	@$(if $(BROWSER_READY),$(MAKE) --no-print-directory $(BROWSER_READY))
	@# The tests run `make demo`; build its binary first, where the output is visible.
	cargo build
	cargo test -- --skip alone:: --test-threads=$(TEST_THREADS)
	cargo test --test it -- --test-threads=1 alone::
	@$(MAKE) --no-print-directory test-janus JANUS_TESTS="janus:: anchors::"
	@if [ -s $(SKIPPED) ]; then echo "test: could not run on this machine:"; sort -u $(SKIPPED); fi

# Janus 1.4 warns when a plain-RTP participant starts, so this target leaves out the test that a room logs no
# warning from its start to its end.
JANUS_TESTS = janus:: anchors:: rooms:: signalling::
test-janus: ## The tests of rooms and anchors again, on the newest Janus in Debian; skipped where apt has none
	@scripts/setup.sh test
	@if janus=$$(scripts/newest-janus.sh); then \
		STENTOR__JANUS__BINARY=$$janus cargo test --test it -- --skip normal_room_life --skip alone:: --skip cluster:: $(JANUS_TESTS); \
	else \
		echo "test-janus: skipped, the newest Janus is not available here"; \
	fi

# Fewer random cases and an eighth of the histories that `make test` runs. PROPTEST_CASES sets the number of cases of
# every property test, also of those that state one.
test-quick: export PROPTEST_CASES = 16
test-quick: export STENTOR_SIM_HISTORIES = 250
test-quick: ## The tests that need no browser and no external process
	@scripts/setup.sh build
	cargo test --lib --bins --test tidy --test fuzz --test embedded -- --test-threads=8
	cargo test --doc

fuzz: ## The fuzz tests of all parsers, eight seconds each; `cargo test` runs each with 1,000 inputs
	@scripts/setup.sh build
	BOLERO_RANDOM_TEST_TIME_MS=8000 cargo test --lib --test fuzz fuzz_

players: ## A live room in 18 players, browsers included, for three minutes; prints the results
	@scripts/setup.sh players
	@$(if $(BROWSER_READY),$(MAKE) --no-print-directory $(BROWSER_READY))
	STENTOR_TEST_PLAY_SECONDS=180 cargo test --test it -- --nocapture --test-threads=1 alone::players

faults: ## Faults on real processes: what was lost, how long the recovery took, the goal
	@scripts/setup.sh test
	@rm -f target/faults.tsv
	FAULT_TABLE=$(CURDIR)/target/faults.tsv cargo test --test it -- --test-threads=1 \
		faults:: failures:: janus_loses cluster:: alone::mixers ports_run_out store::reflector::reflector_copy_is_correct
	FAULT_TABLE=$(CURDIR)/target/faults.tsv cargo bench --bench system -- restart
	@printf 'FAULT\tLOST\tTOOK\tGOAL\n' | cat - target/faults.tsv | column -t -s "$$(printf '\t')"

recording-hour: ## A recording of an hour across all kinds of faults, compared with the sent audio
	@scripts/setup.sh test
	STENTOR_TEST_RECORD_SECONDS=3600 cargo test --test it -- --nocapture --test-threads=1 alone::recording_hour

# Time limit of the attacks, without the build.
ABUSE_SECONDS := 420
ABUSE_TESTS := abuse:: bad_input:: smuggling:: flood:: open_mode:: channel:: ws::limits ws::upgrade signalling::lifetimes \
	signalling::duplicates whip:: faults::rtp secure::pins secure::http2 cluster::listening cluster::leader cluster::registration cluster::invalid_values \
	janus::link janus::replies service::an_unread sources::node_refuses outputs::icecast_redirects \
	alone::speakers::pages_work_by_keyboard captions::recognisers_are recording::recorded_room rewind::listener_node \
	admission::application people::keys_mode people::previews moderation::roles_change events::flood_of_hands
abuse: ## Attacks on a node: how it responds, and what others notice
	@scripts/setup.sh test
	@rm -f target/abuse.tsv
	cargo test --lib --test it --no-run
	cargo test --lib -- auth::tokens auth::jwks
	@printf 'forged tokens (RFC 8725), legal and illegal forms of each claim\t401\tno access\n' > target/abuse.tsv
	ABUSE_TABLE=$(CURDIR)/target/abuse.tsv timeout $(ABUSE_SECONDS) cargo test --test it -- $(ABUSE_TESTS)
	@printf 'ATTACK\tRESPONSE\tOTHERS\n' | cat - target/abuse.tsv | column -t -s "$$(printf '\t')"

check: ## Format, lints, repository rules
	@scripts/setup.sh build
	@scripts/components.sh
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo test --test tidy
	@if command -v python3 >/dev/null; then scripts/sdk.py check; else echo "check: no python3 here; sdk/ was not compared"; fi
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; \
	else echo "check: cargo-deny is not installed; tests/tidy has checked the same rules"; fi

bench: ## Measurements, each next to its baseline, as one table
	@scripts/setup.sh test
	@$(if $(BROWSER_READY),$(MAKE) --no-print-directory $(BROWSER_READY))
	cargo bench --bench packager --bench actors
	@cargo bench --bench system

MDBOOK := target/mdbook
docs: ## The docs site, in target/docs/site, with its links checked
	@[ -x $(MDBOOK)/bin/mdbook ] || cargo install mdbook --locked --version 0.5.4 --no-default-features \
		--features search --root $(MDBOOK)
	@scripts/docs.py $(MDBOOK)/bin/mdbook

sdk: ## Writes the OpenAPI document and the generated parts of sdk/, after a change of the REST API
	@scripts/setup.sh build
	cargo run --quiet -- openapi >target/openapi.json
	@cp target/openapi.json sdk/openapi.json
	@scripts/sdk.py generate

build: ## The release binary, target/release/stentor
	@scripts/setup.sh build
	cargo build --release

DIST := target/dist-packages
dist: ## Tarballs and Debian packages for this machine's architecture and arm64; ARCH=amd64 or ARCH=arm64: only that
	@packaging/dist.sh $(DIST) $(ARCH)

test-dist: ## The package on a Debian 12 with systemd: install, start, reload, upgrade, remove, purge; needs root
	@scripts/setup.sh machine
	@packaging/dist.sh $(DIST) $$(dpkg --print-architecture)
	@scripts/test-packages.sh target/dist/stentor

test-image: ## The steps of the Dockerfile in a chroot, and a room in it; needs root
	@scripts/setup.sh machine
	@packaging/dist.sh $(DIST) $$(dpkg --print-architecture)
	@scripts/test-image.py target/dist/stentor

lint-dist: ## Dockerfile, Compose, Kubernetes, workflow and alert files against their schemas and tests
	@scripts/lint-dist.sh

$(BROWSER)/node_modules/.package-lock.json: $(BROWSER)/package-lock.json
	npm ci --no-audit --no-fund --prefix $(BROWSER)
	@touch $@
