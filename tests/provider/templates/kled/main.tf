# Every block and every attribute that a template may set.
terraform {
  required_providers {
    kled   = { source = "kled/kled" }
    docker = { source = "kreuzwerker/docker" }
  }
}

variable "user" { type = string }

data "kled_workspace" "me" {}
data "kled_owner" "me" {}
data "kled_provisioner" "me" {}
data "kled_tags" "tags" {
  tags = { cluster = "a" }
}

data "kled_parameter" "region" {
  name         = "region"
  display_name = "Region"
  description  = "Where it runs."
  type         = "string"
  form_type    = "radio"
  icon         = "/icon/region.svg"
  default      = "eu"
  mutable      = false
  order        = 1
  styling      = jsonencode({ placeholder = "eu" })
  option {
    name        = "Europe"
    value       = "eu"
    description = "Close."
    icon        = "/icon/eu.svg"
  }
  option {
    name  = "America"
    value = "us"
  }
}
data "kled_parameter" "size" {
  name    = "size"
  type    = "number"
  default = 2
  mutable = true
  validation {
    min       = 1
    max       = 9
    monotonic = "increasing"
    error     = "1 to 9, and never less"
  }
}
data "kled_parameter" "name" {
  name      = "name"
  default   = "ada"
  mutable   = true
  ephemeral = true
  validation {
    regex = "^[a-z]+$"
    error = "letters"
  }
}
data "kled_parameter" "tools" {
  count   = data.kled_parameter.region.value == "eu" ? 1 : 0
  name    = "tools"
  type    = "list(string)"
  default = jsonencode(["git", "vim"])
  mutable = true
}
data "kled_preset" "small" {
  name        = "small"
  description = "One of all."
  icon        = "/icon/small.svg"
  default     = true
  parameters  = { size = 1 }
}

resource "kled_agent" "main" {
  name                    = "main"
  os                      = data.kled_provisioner.me.os
  arch                    = data.kled_provisioner.me.arch
  dir                     = "/w"
  env                     = { REGION = data.kled_parameter.region.value }
  order                   = 1
  motd_file               = "/etc/motd"
  connection_timeout      = 60
  troubleshooting_url     = "https://example.com/help"
  startup_script          = "true"
  startup_script_behavior = "blocking"
  shutdown_script         = "true"
  metadata {
    key          = "load"
    display_name = "Load"
    script       = "cat /proc/loadavg"
    interval     = 10
    timeout      = 2
    order        = 1
  }
  display_apps {
    vscode                 = true
    vscode_insiders        = true
    web_terminal           = false
    ssh_helper             = false
    port_forwarding_helper = false
  }
  resources_monitoring {
    memory {
      enabled   = true
      threshold = 80
    }
    volume {
      path      = "/w"
      enabled   = true
      threshold = 90
    }
  }
}

resource "kled_env" "path" {
  agent_id       = kled_agent.main.id
  name           = "PATH"
  value          = "/opt/bin"
  merge_strategy = "append"
}
resource "kled_script" "clone" {
  agent_id           = kled_agent.main.id
  display_name       = "Clone"
  icon               = "/icon/git.svg"
  script             = "true"
  run_on_start       = true
  run_on_stop        = true
  cron               = "0 */5 * * * *"
  start_blocks_login = true
  timeout            = 60
  log_path           = "/tmp/clone.log"
}
resource "kled_script" "build" {
  agent_id     = kled_agent.main.id
  display_name = "Build"
  script       = "true"
  run_on_start = true
  after        = [kled_script.clone.id]
}
resource "kled_app" "editor" {
  agent_id     = kled_agent.main.id
  slug         = "editor"
  display_name = "Editor"
  icon         = "/icon/code.svg"
  url          = "http://127.0.0.1:8080"
  subdomain    = true
  share        = "owner"
  order        = 1
  group        = "Tools"
  hidden       = true
  open_in      = "tab"
  tooltip      = "An editor"
  healthcheck {
    url       = "http://127.0.0.1:8080/healthz"
    interval  = 5
    threshold = 6
  }
}
resource "kled_app" "top" {
  agent_id = kled_agent.main.id
  slug     = "top"
  command  = "top"
}
resource "kled_app" "docs" {
  agent_id = kled_agent.main.id
  slug     = "docs"
  url      = "https://example.com"
  external = true
}
resource "kled_process" "agent" {
  count         = data.kled_workspace.me.start_count
  name          = "agent"
  agent_id      = kled_agent.main.id
  command       = ["/bin/sleep", "300"]
  dir           = "/tmp"
  user          = var.user
  env           = { KLED_COORDINATOR_URL = data.kled_workspace.me.access_url }
  env_sensitive = { KLED_AGENT_TOKEN = kled_agent.main.token }
}
resource "docker_volume" "home" {
  name = "home"
}
resource "kled_metadata" "home" {
  resource_id = docker_volume.home.id
  hide        = true
  icon        = "/icon/disk.svg"
  daily_cost  = 3
  item {
    key       = "size"
    value     = data.kled_parameter.size.value
    sensitive = true
  }
}
