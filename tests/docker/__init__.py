"""The classroom in containers. Everything here needs a Docker engine: `make docker-test`."""
