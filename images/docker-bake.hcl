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
  targets = ["airflow", "minio", "bucket", "generate", "bronze", "features", "materialize", "verify"]
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
