# SPDX-License-Identifier: MIT
#
# A thin front of meson and ninja. `make help` lists the targets.
#   B=DIR        build folder (default build; check-asan and check-tsan use build-asan, build-tsan)
#   prefix=DIR   where `make install` puts things (default /usr/local); DESTDIR=DIR stages it

B ?= build
prefix ?= /usr/local
export B prefix DESTDIR

# What make check runs; CI adds asan and tsan.
VARIANTS ?= plain

.PHONY: all help setup run check check-asan check-tsan check-root check-vm tidy fuzz bench \
	install clean
.NOTPARALLEL:

all: ## build into build/
	@scripts/build plain

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 16

setup: ## install the Debian packages that building, running and testing need
	@scripts/setup build check

run: ## the key-value server under load, beside a plain epoll server
	@scripts/run

check: ## build, tidy, all tests
	@scripts/check $(VARIANTS)

check-asan: ## all tests but the slowest under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/check asan

check-tsan: ## the thread tests under ThreadSanitizer
	@scripts/check tsan

check-root: ## what needs network namespaces: devices, and the stack against Linux's
	@scripts/check root

check-vm: ## what needs devices that are not here: NVMe and NICs, in a virtual machine
	@scripts/check vm

tidy: ## format, layering, lengths, headers, names, words (a few seconds)
	@scripts/tidy

fuzz: ## fuzz every parser, FUZZ_SECONDS each (default 10)
	@scripts/fuzz

bench: ## every benchmark, with its target
	@scripts/bench

install: ## install under $(DESTDIR)$(prefix)
	@scripts/build install

clean: ## remove the build folders
	rm -rf $(B) build-asan build-tsan build-fuzz
