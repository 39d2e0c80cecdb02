# A workspace that is a process on the coordinator's own machine: for trying Kled out, and for
# hosts that are workspaces themselves. Where bubblewrap works it is confined; else nothing separates
# it from the coordinator.
terraform {
  required_providers {
    kled = {
      source = "kled/kled"
    }
  }
}

data "kled_workspace" "me" {}

# Belongs to the workspace: stays the same from start to start.
resource "kled_agent" "main" {
  name = "main"
}

# Ends with each stop, and is made again by each start.
resource "kled_process" "agent" {
  count    = data.kled_workspace.me.start_count
  name     = "agent"
  agent_id = kled_agent.main.id

  env = {
    KLED_COORDINATOR_URL = data.kled_workspace.me.access_url
  }
  env_sensitive = {
    KLED_AGENT_TOKEN = kled_agent.main.token
  }
}
