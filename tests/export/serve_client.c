/* Loads an export as TensorFlow Serving does (tag "serve") and prints the probabilities of one film.
   serve_client EXPORT FILM INPUT OUTPUT, the last two as in the signature: serving_default_image_bytes:0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensorflow/c/c_api.h"

static void check(const TF_Status *status, const char *what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  exit(1);
}

/* "name:index" -> the operation's output */
static TF_Output output_of(TF_Graph *graph, char *tensor) {
  char *colon = strrchr(tensor, ':');
  TF_Output output = {NULL, colon ? atoi(colon + 1) : 0};
  if (colon) *colon = '\0';
  output.oper = TF_GraphOperationByName(graph, tensor);
  if (!output.oper) { fprintf(stderr, "no operation %s\n", tensor); exit(1); }
  return output;
}

static void free_text(void *data, size_t length, void *unused) {
  (void)length; (void)unused;
  TF_TString_Dealloc(data);
  free(data);
}

static TF_Tensor *read_film(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) { perror(path); exit(1); }
  fseek(file, 0, SEEK_END);
  long size = ftell(file);
  rewind(file);
  char *bytes = malloc(size);
  if (fread(bytes, 1, size, file) != (size_t)size) { perror(path); exit(1); }
  fclose(file);
  TF_TString *text = malloc(sizeof *text);
  TF_TString_Init(text);
  TF_TString_Copy(text, bytes, size);
  free(bytes);
  const int64_t one = 1;
  return TF_NewTensor(TF_STRING, &one, 1, text, sizeof *text, free_text, NULL);
}

int main(int count, char **words) {
  if (count != 5) { fprintf(stderr, "usage: serve_client EXPORT FILM INPUT OUTPUT\n"); return 2; }
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tag = "serve";
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, words[1], &tag, 1, graph, NULL, status);
  check(status, words[1]);
  TF_Output input = output_of(graph, words[3]), output = output_of(graph, words[4]);
  TF_Tensor *film = read_film(words[2]), *answer = NULL;
  TF_SessionRun(session, NULL, &input, &film, 1, &output, &answer, 1, NULL, 0, NULL, status);
  check(status, "run");
  const float *probabilities = TF_TensorData(answer);
  for (int64_t column = 0; column < TF_TensorElementCount(answer); column++) printf("%.9g\n", probabilities[column]);
  TF_DeleteTensor(film);
  TF_DeleteTensor(answer);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteGraph(graph);
  TF_DeleteSessionOptions(options);
  TF_DeleteStatus(status);
  return 0;
}
