# All images of the project: `make images`, or `docker buildx bake -f images/docker-bake.hcl` from the repository's root.

variable "FTI_IMAGE_PREFIX" {
  default = "fti-" # with a registry: registry.example.com/fti-
}

variable "FTI_IMAGE_TAG" {
  default = "dev" # `make images` makes it from the commit
}

variable "FTI_REVISION" {
  default = "" # the commit, and its time: the labels change with the commit, the layers with their sources
}

variable "FTI_CREATED" {
  default = ""
}

variable "FTI_VERSION" {
  default = ""
}

# The last commit of the project; a Go module's version of a commit without a tag.
variable "MINIO_VERSION" {
  default = "v0.0.0-20260212201848-7aac2a2c5b7c"
}

group "default" {
  targets = ["airflow", "minio", "bucket", "serve", "generate", "bronze", "features", "materialize", "verify"]
}

function "tags" {
  params = [name]
  result = ["${FTI_IMAGE_PREFIX}${name}:${FTI_IMAGE_TAG}"]
}

function "labels" {
  params = [title, description]
  result = {
    "org.opencontainers.image.title"       = title
    "org.opencontainers.image.description" = description
    "org.opencontainers.image.version"     = FTI_VERSION
    "org.opencontainers.image.revision"    = FTI_REVISION
    "org.opencontainers.image.created"     = FTI_CREATED
  }
}

target "airflow" {
  context    = "."
  dockerfile = "images/airflow/Dockerfile"
  tags       = tags("airflow")
  labels     = labels("airflow", "Airflow and its DAGs: starts the jobs, holds none of them")
}

target "minio" {
  context    = "."
  dockerfile = "images/minio/Dockerfile"
  args       = { MINIO_VERSION = MINIO_VERSION }
  tags       = tags("minio")
  labels     = labels("minio", "MinIO built from its Go module ${MINIO_VERSION}")
}

target "bucket" {
  context    = "."
  dockerfile = "images/bucket/Dockerfile"
  tags       = tags("bucket")
  labels     = labels("bucket", "Creates S3 buckets that are not there yet")
}

target "serve" {
  context    = "."
  dockerfile = "images/serve/Dockerfile"
  contexts   = { feast = "target:feast" }
  tags       = tags("serve")
  labels     = labels("serve", "HTTP service that reads features from Redis")
}

target "generate" {
  context    = "."
  dockerfile = "images/generate/Dockerfile"
  contexts   = { base = "target:base", tools = "target:tools" }
  tags       = tags("generate")
  labels     = labels("generate", "Job that writes synthetic card transactions to the landing zone")
}

target "bronze" {
  context    = "."
  dockerfile = "images/bronze/Dockerfile"
  contexts   = { spark = "target:spark", tools = "target:tools" }
  tags       = tags("bronze")
  labels     = labels("bronze", "Job that checks landed lines and writes bronze and quarantine")
}

target "features" {
  context    = "."
  dockerfile = "images/features/Dockerfile"
  contexts   = { spark = "target:spark" }
  tags       = tags("features")
  labels     = labels("features", "Job that computes the features of each day")
}

target "materialize" {
  context    = "."
  dockerfile = "images/materialize/Dockerfile"
  contexts   = { feast = "target:feast" }
  tags       = tags("materialize")
  labels     = labels("materialize", "Job that loads the newest features into Redis through Feast")
}

target "verify" {
  context    = "."
  dockerfile = "images/verify/Dockerfile"
  contexts   = { feast = "target:feast" }
  tags       = tags("verify")
  labels     = labels("verify", "Job that compares the online store with the lake")
}

# Shared below the jobs; not images of their own.

target "tools" {
  context    = "."
  output     = ["type=cacheonly"]
  dockerfile = "images/python/Dockerfile"
  target     = "tools"
}

target "base" {
  context    = "."
  output     = ["type=cacheonly"]
  dockerfile = "images/python/Dockerfile"
  target     = "base"
}

target "spark" {
  context    = "."
  output     = ["type=cacheonly"]
  dockerfile = "images/spark/Dockerfile"
  contexts   = { base = "target:base", tools = "target:tools" }
}

target "feast" {
  context    = "."
  output     = ["type=cacheonly"]
  dockerfile = "images/feast/Dockerfile"
  contexts   = { base = "target:base", tools = "target:tools" }
}
