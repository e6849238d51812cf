/* What the bare C libraries take for the same files: decode, resample, FFT, mel bands; decode, resize. No Python between.

   cc -O3 -march=native -o floor floor.c -lsndfile -lsoxr -lfftw3f -lpng -ljpeg -lpthread -lm
   floor FILES FILTERS DUMP|- THREADS RATE_HZ SECONDS FFT HOP BANDS HEIGHT_PX WIDTH_PX

   FILES holds one line a file, "audio PATH" or "image PATH"; FILTERS the mel filters, (BANDS, FFT / 2 + 1) float32. What
   comes out of each file is written to DUMP in the order of FILES, each array after its count of float32 numbers.
   Prints the seconds by the clock, the seconds of the processors, and how many files could not be read. */

#include <fftw3.h>
#include <jpeglib.h>
#include <math.h>
#include <png.h>
#include <pthread.h>
#include <setjmp.h>
#include <sndfile.h>
#include <soxr.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { char kind, *path; float *result; int numbers; } File;
typedef struct { int height, width; float *pixels; /* (height, width, 3) */ } Picture;
typedef struct { int first, count; float *weights; } Taps;

static File *files;
static int file_count, rate_hz, fft_samples, hop, bands, height_px, width_px;
static double seconds;
static float *filters, *window;
static int *band_start, *band_end;
static fftwf_plan plan;
static atomic_int next_file, failures;

static double now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + 1e-9 * at.tv_nsec;
}

/* Sound */

static float *read_mono(const char *path, int *frames, int *from_hz) {
    SF_INFO info = {0};
    SNDFILE *clip = sf_open(path, SFM_READ, &info);
    if (!clip) return NULL;
    *from_hz = info.samplerate;
    sf_count_t wanted = (sf_count_t)(info.samplerate * seconds) + 1;
    float *samples = malloc(sizeof(float) * wanted * info.channels);
    *frames = (int)sf_readf_float(clip, samples, wanted);
    sf_close(clip);
    for (int i = 0; i < *frames; i++) {
        float sum = 0;
        for (int c = 0; c < info.channels; c++) sum += samples[i * info.channels + c];
        samples[i] = sum / info.channels;
    }
    return samples;
}

static float *resample(float *samples, int frames, int from_hz, size_t *resampled) {
    if (from_hz == rate_hz) { *resampled = frames; return samples; }
    size_t room = (size_t)((double)frames * rate_hz / from_hz + 1);
    float *out = malloc(sizeof(float) * room);
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    soxr_oneshot(from_hz, rate_hz, 1, samples, frames, NULL, out, room, resampled, NULL, &quality, NULL);
    free(samples);
    return out;
}

/* Decibels of mel bands as librosa.feature.melspectrogram(center=True) and power_to_db(top_db=None) give them. */
static void log_mel(const float *samples, int count, File *file) {
    int frames = 1 + count / hop, bins = fft_samples / 2 + 1;
    float *in = fftwf_alloc_real(fft_samples), *power = malloc(sizeof(float) * bins);
    fftwf_complex *out = fftwf_alloc_complex(bins);
    file->numbers = frames * bands;
    file->result = malloc(sizeof(float) * file->numbers);
    for (int t = 0; t < frames; t++) {
        int start = t * hop - fft_samples / 2;
        for (int i = 0; i < fft_samples; i++) {
            int at = start + i;
            in[i] = at < 0 || at >= count ? 0 : samples[at] * window[i];
        }
        fftwf_execute_dft_r2c(plan, in, out);
        for (int k = 0; k < bins; k++) power[k] = out[k][0] * out[k][0] + out[k][1] * out[k][1];
        for (int b = 0; b < bands; b++) {
            float sum = 0;
            for (int k = band_start[b]; k < band_end[b]; k++) sum += filters[b * bins + k] * power[k];
            file->result[t * bands + b] = 10 * log10f(fmaxf(sum, 1e-10f));
        }
    }
    fftwf_free(in);
    fftwf_free(out);
    free(power);
}

static int work_on_sound(File *file) {
    int frames, from_hz;
    size_t count;
    float *samples = read_mono(file->path, &frames, &from_hz);
    if (!samples) return 0;
    samples = resample(samples, frames, from_hz, &count);
    size_t most = (size_t)(seconds * rate_hz);
    log_mel(samples, (int)(count < most ? count : most), file);
    free(samples);
    return 1;
}

/* Pictures */

static int decode_png(FILE *stream, Picture *picture) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_stdio(&image, stream)) return 0;
    image.format = PNG_FORMAT_RGBA;
    png_bytep rgba = malloc(PNG_IMAGE_SIZE(image));
    if (!png_image_finish_read(&image, NULL, rgba, 0, NULL)) { free(rgba); return 0; }
    size_t pixels = (size_t)image.height * image.width;
    *picture = (Picture){image.height, image.width, malloc(sizeof(float) * 3 * pixels)};
    for (size_t i = 0; i < pixels; i++) {
        float alpha = rgba[4 * i + 3] / 255.0f;
        for (int c = 0; c < 3; c++) picture->pixels[3 * i + c] = rgba[4 * i + c] * alpha + 255.0f * (1 - alpha);
    }
    free(rgba);
    return 1;
}

typedef struct { struct jpeg_error_mgr base; jmp_buf back; } JpegError;

static void leave(j_common_ptr decoder) { longjmp(((JpegError *)decoder->err)->back, 1); }

static int decode_jpeg(FILE *stream, Picture *picture) {
    struct jpeg_decompress_struct decoder;
    JpegError error;
    decoder.err = jpeg_std_error(&error.base);
    error.base.error_exit = leave;
    if (setjmp(error.back)) { jpeg_destroy_decompress(&decoder); return 0; }
    jpeg_create_decompress(&decoder);
    jpeg_stdio_src(&decoder, stream);
    jpeg_read_header(&decoder, TRUE);
    decoder.out_color_space = JCS_RGB;
    jpeg_start_decompress(&decoder);
    size_t row_numbers = 3 * (size_t)decoder.output_width;
    *picture = (Picture){decoder.output_height, decoder.output_width, malloc(sizeof(float) * row_numbers * decoder.output_height)};
    JSAMPROW row = malloc(row_numbers);
    while (decoder.output_scanline < decoder.output_height) {
        float *to = picture->pixels + row_numbers * decoder.output_scanline;
        jpeg_read_scanlines(&decoder, &row, 1);
        for (size_t i = 0; i < row_numbers; i++) to[i] = row[i];
    }
    free(row);
    jpeg_finish_decompress(&decoder);
    jpeg_destroy_decompress(&decoder);
    return 1;
}

/* A triangle as wide as two pixels of the smaller picture: bilinear with antialiasing. */
static Taps *triangles(int from, int to) {
    Taps *taps = malloc(sizeof(Taps) * to);
    double step = (double)from / to, radius = fmax(step, 1);
    for (int i = 0; i < to; i++) {
        double centre = (i + 0.5) * step, sum = 0;
        int first = (int)fmax(0, ceil(centre - radius - 0.5)), last = (int)fmin(from - 1, floor(centre + radius - 0.5));
        taps[i] = (Taps){first, last - first + 1, malloc(sizeof(float) * (last - first + 1))};
        for (int k = first; k <= last; k++) sum += taps[i].weights[k - first] = fmax(0, 1 - fabs(k + 0.5 - centre) / radius);
        for (int k = 0; k < taps[i].count; k++) taps[i].weights[k] /= sum;
    }
    return taps;
}

static void free_taps(Taps *taps, int count) {
    for (int i = 0; i < count; i++) free(taps[i].weights);
    free(taps);
}

static void resize(Picture *picture, File *file) {
    Taps *down = triangles(picture->height, height_px), *across = triangles(picture->width, width_px);
    int row_numbers = 3 * picture->width;
    float *row = malloc(sizeof(float) * row_numbers);
    file->numbers = 3 * height_px * width_px;
    file->result = calloc(file->numbers, sizeof(float));
    for (int y = 0; y < height_px; y++) {
        memset(row, 0, sizeof(float) * row_numbers);
        for (int k = 0; k < down[y].count; k++) {
            float weight = down[y].weights[k], *from = picture->pixels + (size_t)row_numbers * (down[y].first + k);
            for (int i = 0; i < row_numbers; i++) row[i] += weight * from[i];
        }
        for (int x = 0; x < width_px; x++)
            for (int k = 0; k < across[x].count; k++)
                for (int c = 0; c < 3; c++)
                    file->result[3 * (y * width_px + x) + c] += across[x].weights[k] * row[3 * (across[x].first + k) + c];
    }
    free(row);
    free_taps(down, height_px);
    free_taps(across, width_px);
}

static int work_on_picture(File *file) {
    FILE *stream = fopen(file->path, "rb");
    if (!stream) return 0;
    Picture picture;
    int is_jpeg = fgetc(stream) == 0xFF;
    rewind(stream);
    int is_read = is_jpeg ? decode_jpeg(stream, &picture) : decode_png(stream, &picture);
    fclose(stream);
    if (!is_read) return 0;
    resize(&picture, file);
    free(picture.pixels);
    return 1;
}

/* All files, on several threads */

static void *work(void *unused) {
    for (int i; (i = atomic_fetch_add(&next_file, 1)) < file_count;) {
        int is_done = files[i].kind == 'a' ? work_on_sound(&files[i]) : work_on_picture(&files[i]);
        if (!is_done) atomic_fetch_add(&failures, 1);
    }
    return unused;
}

static void read_list(const char *path) {
    char line[8192];
    FILE *list = fopen(path, "r");
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        files = realloc(files, sizeof(File) * (file_count + 1));
        files[file_count++] = (File){line[0], strdup(line + 6), NULL, 0};
    }
    if (list) fclose(list);
}

static void read_filters(const char *path) {
    int bins = fft_samples / 2 + 1;
    filters = calloc((size_t)bands * bins, sizeof(float));
    band_start = calloc(bands, sizeof(int));
    band_end = calloc(bands, sizeof(int));
    FILE *stream = fopen(path, "rb");
    if (!stream || fread(filters, sizeof(float), (size_t)bands * bins, stream) != (size_t)bands * bins) exit(2);
    fclose(stream);
    for (int b = 0; b < bands; b++) {
        band_start[b] = bins;
        for (int k = 0; k < bins; k++)
            if (filters[b * bins + k] > 0) {
                if (band_start[b] == bins) band_start[b] = k;
                band_end[b] = k + 1;
            }
    }
}

static void plan_transform(void) {
    float *in = fftwf_alloc_real(fft_samples);
    fftwf_complex *out = fftwf_alloc_complex(fft_samples / 2 + 1);
    plan = fftwf_plan_dft_r2c_1d(fft_samples, in, out, FFTW_MEASURE);
    window = malloc(sizeof(float) * fft_samples);
    for (int i = 0; i < fft_samples; i++) window[i] = 0.5 - 0.5 * cos(2 * M_PI * i / fft_samples);
    fftwf_free(in);
    fftwf_free(out);
}

static void dump(const char *path) {
    FILE *stream = fopen(path, "wb");
    if (!stream) exit(2);
    for (int i = 0; i < file_count; i++) {
        fwrite(&files[i].numbers, sizeof(int), 1, stream);
        fwrite(files[i].result, sizeof(float), files[i].numbers, stream);
    }
    fclose(stream);
}

int main(int count, char **given) {
    if (count != 12) return 2;
    read_list(given[1]);
    int threads = atoi(given[4]);
    rate_hz = atoi(given[5]), seconds = atof(given[6]), fft_samples = atoi(given[7]), hop = atoi(given[8]);
    bands = atoi(given[9]), height_px = atoi(given[10]), width_px = atoi(given[11]);
    read_filters(given[2]);
    plan_transform();
    double started = now(CLOCK_MONOTONIC), worked = now(CLOCK_PROCESS_CPUTIME_ID);
    pthread_t *team = malloc(sizeof(pthread_t) * threads);
    for (int i = 0; i < threads; i++) pthread_create(&team[i], NULL, work, NULL);
    for (int i = 0; i < threads; i++) pthread_join(team[i], NULL);
    printf("%f %f %d\n", now(CLOCK_MONOTONIC) - started, now(CLOCK_PROCESS_CPUTIME_ID) - worked, failures);
    if (strcmp(given[3], "-")) dump(given[3]);
    return 0;
}
