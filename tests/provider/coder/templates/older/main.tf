# As templates were written before version 2.0 of the provider, which refuses them today.
terraform {
  required_providers {
    coder = { source = "coder/coder", version = "~> 0.11" }
  }
}

provider "coder" {
  url                           = "https://coder.example.com"
  feature_use_managed_variables = true
}

data "coder_workspace" "me" {}

data "coder_git_auth" "github" {
  id       = "github"
  optional = true
}

data "coder_parameter" "region" {
  name                 = "region"
  legacy_variable_name = "region"
  legacy_variable      = "eu"
  default              = "eu"
}

resource "coder_agent" "dev" {
  os                       = "linux"
  arch                     = "amd64"
  auth                     = "token"
  dir                      = "/home/${lower(data.coder_workspace.me.owner)}"
  api_key_scope            = "no_user_data"
  login_before_ready       = false
  startup_script_timeout   = 180
  shutdown_script_timeout  = 60
  startup_script           = "echo ${data.coder_git_auth.github.access_token}"
  env = {
    OWNER   = data.coder_workspace.me.owner_email
    ID      = data.coder_workspace.me.owner_id
    TOKEN   = data.coder_workspace.me.owner_session_token
    OIDC    = data.coder_workspace.me.owner_oidc_access_token
    GROUPS  = join(",", data.coder_workspace.me.owner_groups)
    NAME    = data.coder_workspace.me.owner_name
    VERSION = "${data.coder_workspace.me.template_name}-${data.coder_workspace.me.template_version}"
  }
}

resource "coder_app" "novnc" {
  agent_id      = coder_agent.dev.id
  name          = "noVNC"
  icon          = "${data.coder_workspace.me.access_url}/icon/novnc.svg"
  url           = "http://localhost:6080"
  relative_path = true
}
