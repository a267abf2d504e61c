# Every target is a short command that also works without make: run the lines below it.
.DEFAULT_GOAL := help
.PHONY: help demo dev test race lint fmt bench cover tools build docker proto ci clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-8s %s\n", $$1, $$2 }'

demo: ## the shop under load, two services killed in the middle, and the ledger at the end
	go run ./cmd/leveret demo

dev: ## RabbitMQ and all services on this machine, until Ctrl-C
	go run ./cmd/leveret dev

test: ## every test, against a real RabbitMQ
	go test ./...

race: ## the same under the race detector (needs a C compiler)
	go test -race -timeout 15m ./...

lint: ## golangci-lint and buf; the first run builds them from source
	.ci/lint

fmt: ## format the code, and tidy go.mod
	.ci/lint fmt
	go mod tidy

bench: ## Leveret against the raw driver and other libraries: writes docs/benchmarks.md (about an hour; ARGS=-short: a minute)
	cd bench && go run . $(ARGS)

cover: ## test coverage, by package and in coverage.out
	go test -coverpkg=./... -coverprofile=coverage.out ./...
	go tool cover -func=coverage.out | tail -n 1

tools: ## build the pinned version of the linter into Go's cache (two minutes, once)
	.ci/lint version

build: ## leveret and the services into bin/, static
	CGO_ENABLED=0 go build -o bin/ ./cmd/...

docker: ## start RabbitMQ and all services in containers, and wait until they are ready
	docker compose up --build --wait

proto: ## check the .proto files, and generate their Go code; the first run builds buf (some minutes)
	go tool -modfile=buf.mod buf lint
	go tool -modfile=buf.mod buf format --write
	go tool -modfile=buf.mod buf generate

ci: ## everything that must hold before a change is merged
	.ci/run

clean: ## remove what the targets above have created
	rm -rf bin coverage.out
