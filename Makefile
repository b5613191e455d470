# The verbs of celery-fleet. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Thousands of short programs run here: their modules are compiled once, also where the environment says otherwise.
unexport PYTHONDONTWRITEBYTECODE

INVENTORY ?= inventories/local
TESTBED ?= local
SCENARIO ?= default
HOST ?=
# Integration tests mostly wait: this many run side by side on two cores.
TESTS_AT_ONCE ?= 4
# Hosts made of namespaces and their network need root.
as_root := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help up down status ssh test lint unit integration contract molecule bench-converge bench-tasks bench-console alerts security audit observability chaos sbom vulnerabilities dashboards lock fmt setup images

help:           ## this list
	@awk -F ':.*## *' '/^[a-z-]+:.*##/ { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

up:             ## the whole fleet on this machine: hosts, services, one real task per queue
	@scripts/step "Tools of this machine" scripts/setup
	@scripts/step "Debian images" $(MAKE) images
	@scripts/step "Hosts" ansible-playbook -i $(INVENTORY) ansible/playbooks/testbed/create.yml
	@scripts/step "Fleet" ansible-playbook -i $(INVENTORY) site.yml
	@scripts/step "Proof" ansible-playbook -i $(INVENTORY) ansible/playbooks/smoke.yml

down:           ## removes the hosts of `make up`; images and secrets stay
	@scripts/step "Removing the hosts" ansible-playbook -i $(INVENTORY) ansible/playbooks/testbed/destroy.yml

status:         ## hosts, containers and services at a glance
	@scripts/status $(TESTBED)

ssh:            ## a shell on a host: make ssh HOST=worker1
	@scripts/ssh $(TESTBED) $(HOST)

test:           ## everything: lint, unit, integration, and a fleet made, tested and removed by Molecule
	@scripts/test

lint: setup     ## style, types and known mistakes of all files
	@scripts/lint

unit: setup     ## fast tests: pure functions, templates, role specifications
	@pytest

integration: setup  ## tests with a real Redis server and real workers on this machine
	@pytest tests/integration -n $(TESTS_AT_ONCE)

contract: setup  ## facts about Celery and Redis that the fleet relies on, against the pinned versions
	@pytest tests/contract

molecule: setup images  ## a fleet from nothing to removed: make molecule SCENARIO=default
	@scripts/setup audit
	@molecule test --no-command-borders --scenario-name $(SCENARIO) </dev/null

.PHONY: molecule-single molecule-django
molecule-single molecule-django: molecule-%:
	@$(MAKE) molecule SCENARIO=$*

bench-converge: setup images  ## how long a converge takes, as a ratio to a plain shell script
	@python tests/bench/converge.py

bench-tasks: setup  ## what a task costs, as a ratio to stock Celery, and by TLS; QUICK=1 only tries it
	@python tests/bench/tasks.py --tls $(if $(QUICK),--quick)

bench-console: setup  ## how fast the console is with a million tasks, and 200 who watch it; QUICK=1 only tries it
	@python tests/bench/console.py $(if $(QUICK),--quick)

alerts: setup   ## faults on the fleet of `make up`, told by its Prometheus and Alertmanager to a webhook; QUICK=1
	@ALERTS=$(if $(QUICK),short,all) pytest tests/alerts

security: setup  ## who gets in, what gets out, what a service may do, on the fleet of `make up`
	@pytest tests/security

audit:          ## hardening report of the hosts of `make up`, before and after: Lynis, systemd, testssl.sh, own checks; QUICK=1
	@scripts/setup audit
	@python tests/audit $(if $(QUICK),--quick)

observability: setup  ## traces, log host, and every query of panels and rules, on the fleet of `make up`
	@pytest tests/observability

chaos: setup    ## tasks flow while workers and Redis are killed, frozen and cut off: none is lost; QUICK=1, SEED=n
	@$(as_root) .venv/bin/python tests/chaos $(if $(QUICK),--quick) $(if $(SEED),--seed=$(SEED))

sbom: setup     ## what is in each program of a release, as CycloneDX, in build/sbom
	@scripts/sbom

vulnerabilities: setup  ## asks PyPI for known vulnerabilities of every locked package
	@scripts/vulnerabilities

dashboards: setup  ## renews Grafana's files from the panels, see docs/dashboards.md
	@python -m celery_fleet.panels deploy/grafana/dashboards

lock: setup     ## renews the locked requirements from their .in files; UPGRADE=1 takes newer versions
	@scripts/lock $(if $(UPGRADE),--upgrade)

fmt: setup      ## formats the Python code and mends what can be mended
	@ruff check --fix --quiet
	@ruff format

setup:          ## installs what this machine lacks; instant when nothing is missing
	@scripts/setup

images:
	@$(MAKE) -j2 image-bookworm image-trixie

.PHONY: image-bookworm image-trixie
image-bookworm image-trixie: image-%:
	@scripts/build-image $*
