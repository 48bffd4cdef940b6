# The two commands of a newcomer are `make demo` and `make test`.

CARGO ?= cargo
OUT ?= demo-report
APPS ?= /tmp/highwater-apps
SERVICES ?= /tmp/highwater-services

.PHONY: help demo test bench bench-model bench-services bench-replayer bench-recorder bench-import faults coverage score mutants fuzz soak apps install-deps

help:
	@echo 'make demo          the whole story on loopback, in about 95 seconds after compiling'
	@echo 'make test          everything that continuous integration runs'
	@echo 'make bench         the replayer beside wrk, and recording beside not recording, as ratios measured on this machine'
	@echo 'make bench-replayer  the replayer beside other generators, its fidelity and its memory; ARGS="--rounds 5 --long"'
	@echo 'make bench-recorder  the recorder beside nginx, haproxy and stock pingora; ARGS="--rounds 5 --seconds 3"'
	@echo 'make faults        the recorder under thirty faults and the replayer under twenty, as tables; about 35 minutes, best as root'
	@echo 'make bench-model     the model against published fits, real sweeps and simulated stations, and its speed'
	@echo 'make bench-services  the capacity of real services foretold from below 70 % of it, then measured, and the cost of routes, as a table of PASS and MISS; 30 minutes; ARGS="wsgi"'
	@echo 'make soak          ten minutes of recording and ten of replaying, with an eye on memory'
	@echo 'make coverage      how often the interval of the date on which capacity runs out holds it, in 240 simulated worlds'
	@echo 'make apps          real applications recorded and replayed: Django, Wagtail, a JWT API, Express, two wikis; needs root'
	@echo 'make score         the import of packets beside tshark, file by file, with a reason for each difference'
	@echo 'make mutants       the import of real files that were cut behind every byte or spoilt: nothing may crash or grow'
	@echo 'make fuzz          every reader of foreign bytes, ten minutes each; ARGS="60 read_har" for a minute of one'
	@echo 'make bench-import  the import of a large pcap beside tshark: MB/s and memory; ARGS="1000" for 1000 MB'
	@echo 'make install-deps  the system packages that the above need, by apt'

# Installs what is missing, builds, runs the demo and says where its report is.
demo:
	@scripts/install-deps build
	$(CARGO) build --release --locked
	$(CARGO) run --release --locked --quiet -- demo --out '$(OUT)'
	@echo 'Open $(OUT)/index.html in a browser.'

test:
	@scripts/install-deps test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --workspace --locked

bench:
	@scripts/install-deps test
	$(CARGO) bench --locked --bench side_by_side --bench recorder -- --only throughput

bench-replayer:
	@scripts/install-deps test
	$(CARGO) bench --locked --bench replayer -- $(ARGS)

bench-recorder:
	@scripts/install-deps bench
	$(CARGO) build --release --locked --package recorder --example stock_proxy
	$(CARGO) bench --locked --bench recorder -- $(ARGS)

bench-model:
	@scripts/install-deps test
	HIGHWATER_REPEATS=200 $(CARGO) test --release --locked --package modeler --test published --test stations --test routes -- --nocapture
	$(CARGO) bench --locked --package modeler --bench speed

# nginx and PHP-FPM, a pool of connections to PostgreSQL, Python workers: on loopback, best as root.
bench-services:
	@scripts/install-deps services
	$(CARGO) build --release --locked
	tests/services/install '$(SERVICES)'
	python3 tests/services/run.py target/release/highwater '$(SERVICES)' $(ARGS)

faults:
	@scripts/install-deps faults
	$(CARGO) test --release --locked --test faults -- --all

coverage:
	REPEATS=240 $(CARGO) test --locked --package modeler --test growth -- --nocapture four_of

soak:
	@scripts/install-deps test
	$(CARGO) build --release --locked
	scripts/soak

install-deps:
	@scripts/install-deps test

# Real applications on loopback, out of the package registries, with a browser for the first.
apps:
	@scripts/install-deps apps
	$(CARGO) build --release --locked
	tests/apps/install '$(APPS)'
	python3 tests/apps/run.py target/release/highwater '$(APPS)' $(ARGS)

score:
	@scripts/install-deps test
	$(CARGO) test --locked --test main import::score -- --nocapture

mutants:
	@scripts/install-deps import
	$(CARGO) build --release --locked
	scripts/mutants target/release/highwater

# Needs cargo-fuzz and a nightly toolchain.
fuzz:
	scripts/fuzz $(ARGS)

bench-import:
	@scripts/install-deps import
	$(CARGO) build --release --locked
	scripts/bench-import $(ARGS)
