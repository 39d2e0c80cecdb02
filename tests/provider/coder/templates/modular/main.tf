# With modules as a registry lays them out, from a local directory.
terraform {
  required_providers {
    coder = { source = "coder/coder", version = ">= 2.5" }
  }
}

data "coder_workspace" "me" {}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

module "editor" {
  count    = data.coder_workspace.me.start_count
  source   = "./modules/editor"
  agent_id = coder_agent.main.id
  order    = 1
}

module "dotfiles" {
  source   = "./modules/dotfiles"
  agent_id = coder_agent.main.id
}
