# A workspace that is a container of the Docker daemon of the coordinator's machine.
terraform {
  required_providers {
    kled = {
      source = "kled/kled"
    }
    docker = {
      source  = "kreuzwerker/docker"
      version = ">= 3.0"
    }
  }
}

provider "docker" {}

data "kled_workspace" "me" {}

data "kled_parameter" "image" {
  name        = "image"
  description = "Any Linux image with sh, tar and curl or wget."
  default     = "buildpack-deps:stable-scm"
  mutable     = true
  order       = 1
}

data "kled_parameter" "memory" {
  name        = "memory"
  description = "Memory, in GiB."
  type        = "number"
  default     = "4"
  mutable     = true
  order       = 2

  validation {
    min   = 1
    max   = 64
    error = "Between {min} and {max} GiB."
  }
}

# Belongs to the workspace: stays the same from start to start.
resource "kled_agent" "main" {
  name = "main"
}

# What people work on: it stays when the workspace stops, and goes with it.
resource "docker_volume" "home" {
  name = "kled-${data.kled_workspace.me.id}-home"

  lifecycle {
    ignore_changes = all
  }
}

# Ends with each stop, and is made again by each start.
resource "docker_container" "workspace" {
  count      = data.kled_workspace.me.start_count
  name       = "kled-${data.kled_workspace.me.owner}-${data.kled_workspace.me.name}"
  hostname   = data.kled_workspace.me.name
  image      = data.kled_parameter.image.value
  memory     = tonumber(data.kled_parameter.memory.value) * 1024
  init       = true
  entrypoint = ["sh", "-c", kled_agent.main.init_script]
  env        = ["KLED_AGENT_TOKEN=${kled_agent.main.token}"]

  # A coordinator on the daemon's own machine is reached as host.docker.internal.
  host {
    host = "host.docker.internal"
    ip   = "host-gateway"
  }

  volumes {
    container_path = "/home"
    volume_name    = docker_volume.home.name
  }
}
