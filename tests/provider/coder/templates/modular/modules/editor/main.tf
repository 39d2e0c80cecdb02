terraform {
  required_version = ">= 1.0"
  required_providers {
    coder = {
      source  = "coder/coder"
      version = ">= 2.5"
    }
  }
}

variable "agent_id" { type = string }
variable "port" {
  type    = number
  default = 13337
}
variable "order" {
  type    = number
  default = null
}
variable "group" {
  type    = string
  default = null
}
variable "share" {
  type    = string
  default = "owner"
  validation {
    condition     = contains(["owner", "authenticated", "public"], var.share)
    error_message = "Incorrect value."
  }
}

resource "coder_script" "editor" {
  agent_id     = var.agent_id
  display_name = "editor"
  icon         = "/icon/code.svg"
  script       = templatefile("${path.module}/run.sh", { PORT = var.port })
  run_on_start = true
}

resource "coder_app" "editor" {
  agent_id     = var.agent_id
  slug         = "editor"
  display_name = "editor"
  url          = "http://localhost:${var.port}/"
  icon         = "/icon/code.svg"
  share        = var.share
  order        = var.order
  group        = var.group
  healthcheck {
    url       = "http://localhost:${var.port}/healthz"
    interval  = 5
    threshold = 6
  }
}
