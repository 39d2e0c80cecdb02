# A workspace that is a container of this machine's containerd, with any OCI runtime: on machines
# without virtualisation, and where the same template is tried before Kata.
terraform {
  required_providers {
    kled = {
      source = "kled/kled"
    }
    kata = {
      source = "kled/kata"
    }
  }
}

data "kled_workspace" "me" {}

data "kled_parameter" "image" {
  name        = "image"
  description = "The image of the workspace. The agent is added to it, so any Linux image will do."
  default     = "docker.io/library/debian:12"
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

data "kled_parameter" "cpus" {
  name        = "cpus"
  description = "CPUs."
  type        = "number"
  default     = "2"
  mutable     = true
  order       = 3

  validation {
    min   = 1
    max   = 32
    error = "Between {min} and {max} CPUs."
  }
}

data "kled_parameter" "disk" {
  name        = "disk"
  description = "The place of the machine that has the home, by its name; empty: the provider's own directory."
  default     = ""
  order       = 4
}

# Belongs to the workspace: stays the same from start to start.
resource "kled_agent" "main" {
  name = "main"
}

# What people work on: it stays when the workspace stops, and goes with it.
resource "kata_volume" "home" {
  name  = "home"
  place = data.kled_parameter.disk.value == "" ? null : data.kled_parameter.disk.value
}

resource "kata_network" "main" {
  name = "main"
}

resource "kata_image" "base" {
  name            = data.kled_parameter.image.value
  keep_on_destroy = true
}

# Ends with each stop, and is made again by each start.
resource "kata_container" "workspace" {
  count    = data.kled_workspace.me.start_count
  name     = "workspace"
  hostname = data.kled_workspace.me.name
  image    = kata_image.base.id
  memory   = tonumber(data.kled_parameter.memory.value) * 1024
  vcpus    = tonumber(data.kled_parameter.cpus.value)

  runtime {
    handler = "runc"
  }
  agent {
    id    = kled_agent.main.id
    token = kled_agent.main.token
  }
  network {
    network = kata_network.main.id
  }
  volume {
    volume = kata_volume.home.id
    target = "/root"
  }
}
