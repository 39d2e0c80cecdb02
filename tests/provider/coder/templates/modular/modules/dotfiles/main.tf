terraform {
  required_providers {
    coder = { source = "coder/coder", version = ">= 0.12" }
  }
}

variable "agent_id" { type = string }
variable "dotfiles_uri" {
  type    = string
  default = null
}

data "coder_parameter" "dotfiles_uri" {
  count        = var.dotfiles_uri == null ? 1 : 0
  type         = "string"
  name         = "dotfiles_uri"
  display_name = "Dotfiles URL"
  default      = ""
  mutable      = true
  icon         = "/icon/dotfiles.svg"
}

locals {
  uri = var.dotfiles_uri != null ? var.dotfiles_uri : data.coder_parameter.dotfiles_uri[0].value
}

resource "coder_script" "dotfiles" {
  agent_id     = var.agent_id
  display_name = "Dotfiles"
  script       = "[ -z '${local.uri}' ] || coder dotfiles '${local.uri}' -y"
  run_on_start = true
}

output "uri" { value = local.uri }
