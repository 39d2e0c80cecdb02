# What the other templates do not use.
terraform {
  required_providers {
    coder = { source = "coder/coder" }
  }
}

data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_provisioner" "me" {}
data "coder_task" "me" {}
data "coder_secret" "key" {
  help_message = "add it"
  env          = "KEY"
}
data "coder_external_auth" "github" {
  id       = "github"
  optional = true
}
data "coder_workspace_tags" "tags" {
  tags = { cluster = "a" }
}
data "coder_parameter" "reset" {
  name      = "reset"
  type      = "bool"
  default   = false
  ephemeral = true
  mutable   = true
  form_type = "switch"
  styling   = jsonencode({ disabled = false })
}

resource "coder_agent" "main" {
  os   = data.coder_provisioner.me.os
  arch = data.coder_provisioner.me.arch
  env = {
    A = data.coder_workspace_owner.me.session_token
    B = data.coder_workspace_owner.me.oidc_access_token
    C = data.coder_workspace_owner.me.ssh_private_key
    D = data.coder_workspace_owner.me.ssh_public_key
    E = join(",", data.coder_workspace_owner.me.groups)
    F = data.coder_workspace_owner.me.login_type
    G = length(data.coder_workspace_owner.me.rbac_roles)
    H = data.coder_secret.key.value
    I = data.coder_task.me.prompt
    J = data.coder_external_auth.github.access_token
    K = data.coder_workspace.me.is_prebuild
    L = data.coder_workspace.me.is_prebuild_claim
    M = data.coder_workspace.me.prebuild_count
    N = "${data.coder_workspace.me.access_port} ${data.coder_workspace.me.template_id}"
  }
}
resource "coder_agent" "second" {
  os   = "linux"
  arch = "arm64"
}
resource "coder_agent_instance" "main" {
  agent_id    = coder_agent.main.id
  instance_id = "i-1"
}
resource "coder_ai_task" "main" {
  app_id = coder_app.top.id
}
resource "coder_devcontainer" "main" {
  agent_id         = coder_agent.main.id
  workspace_folder = "/w"
  config_path      = "/w/.devcontainer/devcontainer.json"
}
resource "coder_external_agent" "main" {
  agent_id = coder_agent.second.id
}
resource "coder_app" "top" {
  agent_id     = coder_agent.main.id
  slug         = "top"
  display_name = "Top"
  command      = "top"
  hidden       = true
  tooltip      = "Processes"
}
resource "coder_app" "docs" {
  agent_id = coder_agent.main.id
  slug     = "docs"
  url      = "https://example.com"
  external = true
}
