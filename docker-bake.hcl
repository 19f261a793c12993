# docker buildx bake          the images that run          docker buildx bake baked   one with models inside
# TAG=1.2.0 REGISTRY=registry.example/team docker buildx bake --push

variable "REGISTRY" { default = "rayscribe" }
variable "TAG" { default = "dev" }
variable "BASE_IMAGE" { default = "python:3.11-slim-bookworm" }
variable "TORCH_INDEX" { default = "https://download.pytorch.org/whl/cpu" }
# Names of configs/models.yaml. Production models are large, and some are gated: HF_TOKEN is read from the environment.
variable "MODELS" { default = "demo-whisper,demo-align,demo-diarization" }
variable "PRODUCTION_MODELS" {
  default = "whisper-small,whisper-medium,align-en-base,diarization-community-1"
}
# Where layers are kept between builds, such as registry.example/team/rayscribe-cache; empty: nowhere.
variable "CACHE" { default = "" }

group "default" { targets = ["slim", "runtime-cpu", "runtime-cuda"] }

target "common" {
  dockerfile = "Dockerfile"
  args       = { BASE_IMAGE = BASE_IMAGE }
  attest     = ["type=sbom", "type=provenance,mode=max"]
  labels = {
    "org.opencontainers.image.title"    = "rayscribe"
    "org.opencontainers.image.licenses" = "Apache-2.0"
    "org.opencontainers.image.version"  = TAG
  }
  cache-from = CACHE == "" ? [] : ["type=registry,ref=${CACHE}"]
  cache-to   = CACHE == "" ? [] : ["type=registry,ref=${CACHE},mode=max"]
}

target "slim" {
  inherits = ["common"]
  target   = "slim"
  tags     = ["${REGISTRY}/slim:${TAG}"]
}

target "runtime-cpu" {
  inherits  = ["common"]
  target    = "runtime-cpu"
  platforms = ["linux/amd64"]
  args      = { TORCH_INDEX = TORCH_INDEX }
  tags      = ["${REGISTRY}/cpu:${TAG}"]
}

target "runtime-cuda" {
  inherits  = ["common"]
  target    = "runtime-cuda"
  platforms = ["linux/amd64"]
  tags      = ["${REGISTRY}/cuda:${TAG}"]
}

target "baked" {
  inherits = ["runtime-cpu"]
  target   = "baked"
  args     = { MODELS = MODELS }
  tags     = ["${REGISTRY}/cpu-demo:${TAG}"]
}

target "baked-production" {
  inherits = ["runtime-cpu"]
  target   = "baked"
  args     = { MODELS = PRODUCTION_MODELS }
  secret   = ["type=env,id=hf_token,env=HF_TOKEN"]
  tags     = ["${REGISTRY}/cpu-models:${TAG}"]
}
