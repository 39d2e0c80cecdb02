# Every block and every attribute that a template may set.
terraform {
  required_providers {
    coder  = { source = "coder/coder" }
    docker = { source = "kreuzwerker/docker" }
  }
}

data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_provisioner" "me" {}
data "coder_task" "me" {}
data "coder_secret" "key" {
  help_message = "Add it."
  env          = "KEY"
}
data "coder_secret" "file" {
  help_message = "Add it."
  file         = "~/.key"
}
data "coder_external_auth" "github" {
  id       = "github"
  optional = true
}
data "coder_git_auth" "github" {
  id       = "github"
  optional = true
}
data "coder_workspace_tags" "tags" {
  tags = { cluster = "a" }
}

data "coder_parameter" "region" {
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
data "coder_parameter" "size" {
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
variable "old" { default = "a" }
data "coder_parameter" "old" {
  name                 = "old"
  default              = "a"
  legacy_variable      = var.old
  legacy_variable_name = "old"
}
data "coder_parameter" "name" {
  name      = "name"
  default   = "ada"
  mutable   = true
  ephemeral = true
  validation {
    regex = "^[a-z]+$"
    error = "letters"
  }
}
data "coder_parameter" "tools" {
  count   = data.coder_parameter.region.value == "eu" ? 1 : 0
  name    = "tools"
  type    = "list(string)"
  default = jsonencode(["git", "vim"])
  mutable = true
}
data "coder_workspace_preset" "small" {
  name        = "small"
  description = "One of all."
  icon        = "/icon/small.svg"
  default     = true
  parameters  = { size = 1 }
  prebuilds {
    instances = 1
    expiration_policy {
      ttl = 3600
    }
    scheduling {
      timezone = "UTC"
      schedule {
        cron      = "* 8-18 * * 1-5"
        instances = 2
      }
    }
  }
}

resource "coder_agent" "main" {
  os                      = data.coder_provisioner.me.os
  arch                    = data.coder_provisioner.me.arch
  auth                    = "token"
  api_key_scope           = "all"
  login_before_ready      = false
  startup_script_timeout  = 60
  shutdown_script_timeout = 60
  dir                     = "/w"
  env                     = { REGION = data.coder_parameter.region.value }
  order                   = 1
  motd_file               = "/etc/motd"
  connection_timeout      = 60
  troubleshooting_url     = "https://example.com/help"
  startup_script          = "true"
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

resource "coder_env" "path" {
  agent_id       = coder_agent.main.id
  name           = "PATH"
  value          = "/opt/bin"
  merge_strategy = "append"
}
resource "coder_script" "clone" {
  agent_id           = coder_agent.main.id
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
resource "coder_app" "editor" {
  agent_id     = coder_agent.main.id
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
resource "coder_app" "top" {
  agent_id = coder_agent.main.id
  slug     = "top"
  command  = "top"
}
resource "coder_app" "docs" {
  agent_id = coder_agent.main.id
  slug     = "docs"
  url      = "https://example.com"
  external = true
}
resource "coder_app" "old" {
  agent_id      = coder_agent.main.id
  slug          = "old"
  name          = "Old"
  url           = "http://127.0.0.1:1"
  relative_path = true
}
resource "coder_agent" "second" {
  os                      = "linux"
  arch                    = "arm64"
  startup_script          = "true"
  startup_script_behavior = "non-blocking"
}
resource "coder_agent_instance" "main" {
  agent_id    = coder_agent.main.id
  instance_id = "i-1"
}
resource "coder_ai_task" "main" {
  app_id = coder_app.top.id
}
resource "coder_ai_task" "old" {
  sidebar_app {
    id = coder_app.top.id
  }
}
resource "coder_devcontainer" "main" {
  agent_id         = coder_agent.main.id
  workspace_folder = "/w"
  config_path      = "/w/.devcontainer/devcontainer.json"
}
resource "coder_external_agent" "main" {
  agent_id = coder_agent.second.id
}
resource "docker_volume" "home" {
  name = "home"
}
resource "coder_metadata" "home" {
  resource_id = docker_volume.home.id
  hide        = true
  icon        = "/icon/disk.svg"
  daily_cost  = 3
  item {
    key       = "size"
    value     = data.coder_parameter.size.value
    sensitive = true
  }
}
