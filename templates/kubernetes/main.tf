# A workspace that is a pod with a volume of its own.
terraform {
  required_providers {
    kled = {
      source = "kled/kled"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.20"
    }
  }
}

variable "namespace" {
  description = "Where workspaces are; fixed by `kled template push --var namespace=NAME`."
  default     = "kled"
}

# As kubectl does: in a pod by its service account, else by KUBE_CONFIG_PATH.
provider "kubernetes" {}

data "kled_workspace" "me" {}

data "kled_parameter" "image" {
  name        = "image"
  description = "Any Linux image with sh, tar and curl or wget."
  default     = "buildpack-deps:stable-scm"
  mutable     = true
  order       = 1
}

data "kled_parameter" "cpus" {
  name        = "cpus"
  description = "CPUs that the pod may use."
  type        = "number"
  default     = "2"
  mutable     = true
  order       = 2

  option {
    name  = "2 CPUs, 4 GiB"
    value = "2"
  }
  option {
    name  = "4 CPUs, 8 GiB"
    value = "4"
  }
  option {
    name  = "8 CPUs, 16 GiB"
    value = "8"
  }
}

data "kled_parameter" "disk" {
  name        = "disk"
  description = "Size of the home volume, in GiB. It cannot be changed later."
  type        = "number"
  default     = "10"
  order       = 3

  validation {
    min   = 1
    max   = 500
    error = "Between {min} and {max} GiB."
  }
}

locals {
  name = "kled-${data.kled_workspace.me.owner}-${data.kled_workspace.me.name}"
  cpus = tonumber(data.kled_parameter.cpus.value)
  labels = {
    "app.kubernetes.io/name"     = "kled-workspace"
    "app.kubernetes.io/instance" = data.kled_workspace.me.id
  }
}

# Belongs to the workspace: stays the same from start to start.
resource "kled_agent" "main" {
  name = "main"
  dir  = "/home/dev"
}

resource "kubernetes_persistent_volume_claim" "home" {
  metadata {
    name      = "${local.name}-home"
    namespace = var.namespace
    labels    = local.labels
  }
  wait_until_bound = false

  spec {
    access_modes = ["ReadWriteOnce"]
    resources {
      requests = {
        storage = "${data.kled_parameter.disk.value}Gi"
      }
    }
  }
}

# The token is in a secret, so that who may only read pods does not see it.
resource "kubernetes_secret" "agent" {
  metadata {
    name      = "${local.name}-agent"
    namespace = var.namespace
    labels    = local.labels
  }
  data = {
    token = kled_agent.main.token
  }
}

# Ends with each stop, and is made again by each start.
resource "kubernetes_pod" "workspace" {
  count = data.kled_workspace.me.start_count

  metadata {
    name      = local.name
    namespace = var.namespace
    labels    = local.labels
  }

  spec {
    security_context {
      run_as_user = 1000
      fs_group    = 1000
    }

    container {
      name    = "workspace"
      image   = data.kled_parameter.image.value
      command = ["sh", "-c", kled_agent.main.init_script]

      env {
        name = "KLED_AGENT_TOKEN"
        value_from {
          secret_key_ref {
            name = kubernetes_secret.agent.metadata[0].name
            key  = "token"
          }
        }
      }

      resources {
        requests = {
          cpu    = "250m"
          memory = "512Mi"
        }
        limits = {
          cpu    = local.cpus
          memory = "${local.cpus * 2}Gi"
        }
      }

      volume_mount {
        mount_path = "/home/dev"
        name       = "home"
      }
    }

    volume {
      name = "home"
      persistent_volume_claim {
        claim_name = kubernetes_persistent_volume_claim.home.metadata[0].name
      }
    }
  }
}
