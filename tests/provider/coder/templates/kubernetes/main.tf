terraform {
  required_providers {
    coder      = { source = "coder/coder" }
    kubernetes = { source = "hashicorp/kubernetes" }
  }
}

variable "namespace" {
  type    = string
  default = "workspaces"
}

data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "home_disk_size" {
  name         = "home_disk_size"
  display_name = "Home disk size"
  type         = "number"
  default      = "10"
  mutable      = false
  validation {
    min   = 1
    max   = 99999
    error = "Between {min} and {max} GB"
  }
}

data "coder_parameter" "features" {
  name      = "features"
  type      = "list(string)"
  form_type = "multi-select"
  default   = jsonencode(["git"])
  mutable   = true
  option {
    name  = "Git"
    value = "git"
  }
  option {
    name  = "Docker"
    value = "docker"
  }
}

resource "coder_agent" "main" {
  os                      = "linux"
  arch                    = "amd64"
  dir                     = "/home/coder"
  connection_timeout      = 300
  troubleshooting_url     = "https://example.com/help"
  motd_file               = "/etc/motd"
  order                   = 1
  startup_script_behavior = "blocking"
  shutdown_script         = "echo bye"
}

resource "coder_script" "install" {
  agent_id           = coder_agent.main.id
  display_name       = "Install"
  icon               = "/icon/code.svg"
  script             = "echo ${join(",", jsondecode(data.coder_parameter.features.value))}"
  run_on_start       = true
  start_blocks_login = true
  timeout            = 300
  log_path           = "/tmp/install.log"
}

resource "coder_script" "nightly" {
  agent_id     = coder_agent.main.id
  display_name = "Nightly"
  script       = "true"
  cron         = "0 0 3 * * *"
  run_on_stop  = true
}

resource "coder_env" "path" {
  for_each       = toset(["/a/bin", "/b/bin"])
  agent_id       = coder_agent.main.id
  name           = "PATH"
  value          = each.value
  merge_strategy = "append"
}

resource "kubernetes_persistent_volume_claim_v1" "home" {
  metadata {
    name      = "coder-${data.coder_workspace.me.id}-home"
    namespace = var.namespace
    labels = {
      "com.coder.user.username" = data.coder_workspace_owner.me.name
    }
    annotations = { "com.coder.user.email" = data.coder_workspace_owner.me.email }
  }
  wait_until_bound = false
  spec {
    access_modes = ["ReadWriteOnce"]
    resources {
      requests = { storage = "${data.coder_parameter.home_disk_size.value}Gi" }
    }
  }
}

resource "kubernetes_deployment_v1" "main" {
  count            = data.coder_workspace.me.start_count
  wait_for_rollout = false
  metadata {
    name      = "coder-${data.coder_workspace.me.id}"
    namespace = var.namespace
  }
  spec {
    replicas = 1
    selector {
      match_labels = { "app.kubernetes.io/name" = "coder-workspace" }
    }
    strategy { type = "Recreate" }
    template {
      metadata {
        labels = { "app.kubernetes.io/name" = "coder-workspace" }
      }
      spec {
        security_context {
          run_as_user = 1000
          fs_group    = 1000
        }
        container {
          name              = "dev"
          image             = "ubuntu"
          image_pull_policy = "Always"
          command           = ["sh", "-c", coder_agent.main.init_script]
          security_context { run_as_user = "1000" }
          env {
            name  = "CODER_AGENT_TOKEN"
            value = coder_agent.main.token
          }
          resources {
            requests = { cpu = "250m" }
            limits   = { cpu = "2" }
          }
          volume_mount {
            mount_path = "/home/coder"
            name       = "home"
            read_only  = false
          }
        }
        volume {
          name = "home"
          persistent_volume_claim {
            claim_name = kubernetes_persistent_volume_claim_v1.home.metadata.0.name
            read_only  = false
          }
        }
      }
    }
  }
}
